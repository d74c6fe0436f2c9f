"""Bring prompts of your own: python examples/own_prompts.py URL TOKEN FILE SET"""

import sys
import time
from pathlib import Path
from typing import Any

import httpx


def bring(client: httpx.Client, path: Path, prompt_set: str, **order: Any) -> dict[str, Any]:
    """Upload a file, import it as a job, wait for its result."""
    with path.open("rb") as file:
        upload = client.post("/api/v1/uploads", params={"name": path.name}, content=file.read()).raise_for_status()
    asked = {"prompt_set": prompt_set, "source": upload.json()["source"]} | order
    job = client.post("/api/v1/prompts/imports", json=asked).raise_for_status().json()["job"]
    while True:
        seen = client.get(f"/api/v1/jobs/{job}").raise_for_status().json()
        if seen["state"] == "failed":
            raise SystemExit(seen["error"])
        if seen["state"] == "done":
            return dict(seen["result"])
        time.sleep(0.5)


if __name__ == "__main__":
    url, token, file, name = sys.argv[1:]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        print(bring(client, Path(file), name, dry_run=True))
        print(bring(client, Path(file), name))
