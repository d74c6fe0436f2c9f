"""`prefloop runs` on a database of its own: a head-to-head is asked for and told of, a report is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from app.cli import cli
from app.kinds import Split
from app.models import Contest, Run
from tests.factories import make_checkpoint, make_prompt, make_run

Prefloop = Callable[..., Result]


@pytest.fixture
def prefloop(database_url: str, tmp_path: Path) -> Prefloop:
    """Run a command on this test's database."""
    facts = {"PREFLOOP_DATABASE_URL": database_url, "PREFLOOP_HOME": str(tmp_path)}
    return lambda *words: CliRunner().invoke(cli, words, env=facts, catch_exceptions=False)


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session, name="small")
    make_checkpoint(session, made, number=2, report={"kl": 3.0})
    for _ in range(4):
        make_prompt(session, split=Split.TEST)
    session.commit()
    return made


def test_a_head_to_head_is_asked_for_and_its_result_told(session: Session, prefloop: Prefloop, run: Run) -> None:
    words = ("--prompts", "4", "--labelers", "1", "--own-session")
    asked = prefloop("runs", "contest", "newest", "policy 2", "reference", *words)
    made = session.scalars(select(Contest).where(Contest.run_id == run.id)).one()
    assert asked.output.strip() == str(made.id)
    assert (made.left["name"], made.right["name"], made.own_session) == ("policy 2", "reference", True)
    assert "no votes yet" in prefloop("runs", "contest-results", "small").output


def test_a_report_is_one_file(prefloop: Prefloop, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert prefloop("runs", "report", run.name, str(file)).output.strip() == str(file)
    html = file.read_text()
    assert "<h1>small</h1>" in html
    assert "src=" not in html
    assert "href=" not in html
    with pytest.raises(Exception, match="Cannot write"):
        prefloop("runs", "report", run.name, str(tmp_path / "nowhere" / "report.html"))
