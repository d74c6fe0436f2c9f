"""The examples, run as they stand."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import accounts
from app.db import SessionFactory, session_scope
from app.kinds import JobKind
from app.main import create_app
from app.models import Job, JobState, Prompt, Role
from app.rules import load_rule
from app.settings import Settings
from examples.dpo import train
from examples.own_prompts import bring
from examples.own_task import start
from examples.summaries import retells
from tests.factories import make_account
from tests.tiny import save_tiny_model
from tests.workers.transfers.carried import errand_on
from workers.transfers import HANDLERS


@pytest.fixture
def client(database_url: str, session_factory: SessionFactory, tmp_path: Path) -> Iterator[httpx.Client]:
    """A researcher of a site without a broker."""
    with session_scope(session_factory) as session:
        ada = make_account(session, role=Role.RESEARCHER)
        token = accounts.issue_token(session, ada.id, "test")
    settings = Settings(home=tmp_path, database_url=database_url, broker_url=None, public_url=None)
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {token}"}) as made:
        yield cast(httpx.Client, made)  # of the same manners


@pytest.fixture
def carrier(session_factory: SessionFactory, tmp_path: Path) -> Iterator[None]:
    """Does what the control worker does: carries queued jobs."""
    stop = threading.Event()

    def carry() -> None:
        while not stop.wait(0.1):
            with session_scope(session_factory) as session:
                queued = session.execute(select(Job.id, Job.kind).where(Job.state == JobState.QUEUED)).all()
            for job in queued:
                HANDLERS[JobKind(job.kind)](errand_on(session_factory, job.id, tmp_path))

    thread = threading.Thread(target=carry)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_rule_labeler_picks_the_calmest() -> None:
    rule = load_rule("examples.rule_labeler:calmest")
    assert rule("", ["a!", "b", "c!!"]) == 1
    assert rule("", ["a!", "b", "c"]) == "tie"


def test_the_summarizers_rule_picks_what_retells_without_copying() -> None:
    prompt = "The council of Penrose closed its old bridge after inspectors found deep cracks."
    copied = "The council of Penrose closed its old bridge."
    assert retells(prompt, ["A town did something.", "Penrose closed a bridge with cracks.", copied]) == 1
    assert retells(prompt, [copied, "Penrose closed the bridge."]) == 1, "what is copied word for word counts less"
    assert retells(prompt, ["It was so so so.", "It was a sunny day."]) == 1, "of equals the richer one"
    assert retells(prompt, ["A town.", "A town."]) == "tie"


@pytest.mark.usefixtures("carrier")
def test_own_prompts_and_a_task_of_ones_own(
    client: httpx.Client, session_factory: SessionFactory, tmp_path: Path
) -> None:
    path = tmp_path / "poems.jsonl"
    path.write_text("".join(json.dumps({"text": f"the sea number {n}"}) + "\n" for n in range(120)))
    foretold = bring(client, path, "poems", dry_run=True)
    done = bring(client, path, "poems")
    assert foretold["added"] == done["added"] == 120
    run = start(client, "tiny", "poems")
    assert run["phase"] == "running"
    with session_scope(session_factory) as session:
        assert len(session.scalars(select(Prompt.id)).all()) == 120


@pytest.mark.filterwarnings("default")
def test_exported_pairs_go_into_dpo(tmp_path: Path) -> None:
    pairs = [{"prompt": "the sun", "chosen": f" was {n}", "rejected": " rain"} for n in range(4)]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    model = save_tiny_model(tmp_path / "tiny")
    assert train(str(path), str(model), str(tmp_path / "out"), steps=1) == pytest.approx(0.693, abs=0.01)
    assert (tmp_path / "out" / "config.json").exists()
