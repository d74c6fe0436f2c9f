"""A task of your own: python examples/own_task.py URL TOKEN MODEL SET

People pick the best of three opening lines for a poem; a line ends at its line end, which must come before token 20.
"""

import sys
from typing import Any

import httpx

TASK = {
    "question": "Which opening line would you read on from?",
    "prefix": "A poem about ",
    "suffix": ":\n\n",
    "query_tokens": 32,
    "response_tokens": 20,
    "terminator": "\n",
    "min_terminator_index": 4,
    "samples_per_comparison": 3,
}


def start(client: httpx.Client, model: str, prompt_set: str) -> dict[str, Any]:
    """A run of this task, everything else as in the preset for small machines."""
    hparams = {"task": TASK, "prompt_set": prompt_set, "labeling": {"guideline": None}}
    body = {"name": "opening lines", "base_model": model, "preset": "sentiment-small", "hparams": hparams}
    return dict(client.post("/api/v1/runs", json=body).raise_for_status().json())


if __name__ == "__main__":
    url, token, model, name = sys.argv[1:]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        print(start(client, model, name)["id"])
