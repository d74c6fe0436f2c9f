"""Summarization from articles to the report, through the whole of Prefloop, as `examples/summaries.py` does it."""

import socket
from pathlib import Path

import httpx
import pytest
from bs4 import BeautifulSoup, Tag

from app.client import Client
from app.reports.summaries import NOVEL
from examples.summaries import SET, main
from tests.running import RunningPrefloop

pytestmark = pytest.mark.slow

TUNED = "PPO (PPO from the model)"
BOTH = "supervised + PPO (PPO from the supervised model)"


@pytest.fixture(scope="module")
def prefloop(servers_dir: Path) -> RunningPrefloop:
    """All of Prefloop on a tiny model, its example run stopped."""
    with socket.create_server(("127.0.0.1", 0)) as tried:
        port = tried.getsockname()[1]
    return RunningPrefloop(servers_dir / "sums", port)


def rows_of(page: BeautifulSoup) -> dict[str, list[str]]:
    """The table of summaries on a page, by writer."""
    rows = page.select('section[aria-labelledby="summaries-title"] tbody tr')
    heads = [row.th for row in rows if isinstance(row.th, Tag)]
    return {head.text: [cell.text for cell in row.select("td")] for head, row in zip(heads, rows, strict=True)}


def test_from_articles_to_the_report(
    prefloop: RunningPrefloop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(prefloop.home))
    with prefloop:
        ready = prefloop.ready(900.0)
        url, token = ready["url"], ready["api_token"]
        with Client(url, token) as client:
            client.stop(ready["run_id"])
            main(url, token, str(prefloop.home / "tiny"), tmp_path, seconds_per_label=0.05)
            made = {run.name: run for run in client.runs()}
            run_id = made["PPO from the model"].id
            assert {run.phase for name, run in made.items() if name.startswith("PPO")} == {"finished"}
            novel = client.metrics(run_id, [NOVEL])
            assert len(novel[NOVEL].points) >= 2, "the reference and a policy, at least"
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            (articles,) = [one for one in http.get("/api/v1/prompt-sets").json()["prompt_sets"] if one["name"] == SET]
            assert articles["train"] + articles["valid"] + articles["test"] == articles["references"] == 80
            for path in (f"/runs/{run_id}", f"/runs/{run_id}/report"):
                found = rows_of(BeautifulSoup(http.get(path).raise_for_status().text, "html.parser"))
                assert list(found) == ["human reference", "lead-3", "zero-shot", "supervised", TUNED, BOTH]
                assert found["human reference"][:5] == ["100.00"] * 4 + ["100 %"], "itself, in nobody else's words"
                assert found["lead-3"][4:10] == ["0 %"] * 5 + ["100 %"], "the article's own words, from its beginning"
                assert all(float(row[0]) >= 0 for row in found.values())
