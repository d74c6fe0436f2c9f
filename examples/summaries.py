"""A summarization run from its articles to its report: python examples/summaries.py URL TOKEN MODEL FOLDER

Articles are made and imported, a model is fine-tuned on their summaries, and two runs learn what a rule prefers: one
from the model itself, one from the fine-tuned one. Then `prefloop summaries` compares them with lead-3. What is done is
not done again, so the script may be stopped and started anew. With a model of 135M parameters it took 21 minutes on two
cores that other programs used too.
Run it on the machine of `prefloop up`, with the same PREFLOOP_HOME.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from app.client import Client
from examples.own_prompts import bring
from scripts.make_articles import articles

SET = "articles"
RULE = "examples.summaries:retells"
TASK: dict[str, Any] = {
    "prefix": "Article: ",
    "suffix": "\n\nSummary in one sentence:",
    "query_tokens": 192,
    "response_tokens": 32,
    # The preset's 0.5 lets a model that was taught write one summary four times, and people have nothing to choose.
    "temperature": 1.0,
    "terminator": ".",
    "min_terminator_index": 6,
}
HPARAMS: dict[str, Any] = {
    "task": TASK,
    "prompt_set": SET,
    "reward": {"heads": [{"readouts": [{"pooling": "mean", "depth": 0.5}]}], "normalization_samples": 64},
    "schedule": {
        "initial_labels": 30,
        "total_labels": 60,
        "reward_trainings": 2,
        "outstanding": 8,
        "promote_episodes": 32,
        "valid_fraction": 0.05,
    },
    "ppo": {
        "episodes": 64,
        "batch": 16,
        "micro_batch": 16,
        "epochs": 2,
        "learning_rate": 5e-5,
        "kl_target": 6.0,
        "kl_horizon": 160,
        "frozen_layers": 0.5,
    },
    "collection": {"overlap_share": 0.0},
}
_WORD = re.compile(r"[a-z]{5,}")


def retells(prompt: str, texts: Sequence[str]) -> int | str:
    """The text with the most of the prompt's longer words in it, fewer where five words in a row are copied.

    Of texts that are equal in this the one of the most different words is taken: a tie teaches nothing here.
    """
    scores = [_retold(prompt.lower(), text.lower()) for text in texts]
    return "tie" if scores.count(max(scores)) > 1 else scores.index(max(scores))


def _retold(prompt: str, text: str) -> tuple[float, int]:
    words = text.split()
    copied = sum(" ".join(words[start : start + 5]) in prompt for start in range(max(0, len(words) - 4)))
    retold = len(set(_WORD.findall(text)) & set(_WORD.findall(prompt)))
    return retold - 0.5 * copied, len(set(words))


def written(folder: Path, count: int) -> tuple[Path, Path]:
    """The articles to import, and as rows to learn from; one hash splits both, so that none is learned and tested."""
    folder.mkdir(parents=True, exist_ok=True)
    made = list(articles(count, seed=1))
    rows = [{"prompt": one["article"], "reference": f" {one['summary']}"} for one in made]
    files = folder / "articles.jsonl", folder / "rows.jsonl"
    for path, lines in zip(files, (made, rows), strict=True):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files


def taught(folder: Path, rows: Path, model: str, *settings: str) -> Path:
    """The model, fine-tuned on the summaries."""
    out = folder / "supervised"
    task = (f"task.{name}={json.dumps(value)}" for name, value in TASK.items())
    words = [word for one in (*task, "supervised.rates=1", *settings) for word in ("--set", one)]
    prefloop("finetune", "--out", out, "--model", model, "--data", rows, "--preset", "cnndm", *words)
    return out


def learned(client: Client, url: str, token: str, name: str, model: str, seconds: float) -> str:
    """A run that is done; its labelers follow the rule, and take so many seconds for a label."""
    found = {run.name: run.id for run in client.runs()}
    run_id = found.get(name) or client.create_run(name, model, preset="cnndm", hparams=HPARAMS).id
    site = ("--url", url, "--token", token, "--run", run_id)
    prefloop("simulate", "--rule", RULE, *site, "--seconds-per-label", str(seconds))
    return str(run_id)


def prefloop(*words: object) -> None:
    """A command, to its end."""
    subprocess.run([str(Path(sys.executable).with_name("prefloop")), *map(str, words)], check=True)


def main(url: str, token: str, model: str, folder: Path, *, seconds_per_label: float = 0.5) -> None:
    """All of it."""
    news, rows = written(folder, 80)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        print(bring(http, news, SET, column="article", reference_column="summary"))
    supervised = taught(folder, rows, model, "supervised.epochs=1", "supervised.batch=16")
    with Client(url, token) as client:
        first = learned(client, url, token, "PPO from the model", model, seconds_per_label)
        second = learned(client, url, token, "PPO from the supervised model", str(supervised), seconds_per_label)
    prefloop("summaries", "--run", first, "--also", second, "--supervised", supervised)
    print(f"{url}/runs/{first} and its report: {url}/runs/{first}/report")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]).absolute())
