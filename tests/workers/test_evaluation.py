"""A policy against its reference by a judge, on a tiny model and real tables."""

from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import select

from app.db import SessionFactory, session_scope
from app.errors import NotFoundError
from app.models import Checkpoint, CheckpointKind, Evaluation, Run, Split
from app.rules import Score
from tests.factories import make_checkpoint, make_prompt, make_run
from tests.tiny import save_tiny_model
from workers.evaluation import Options, evaluate
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import load_tokenizer
from workers.published import publish
from workers.workshop import Workshop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A trainer's models on this test's own disk."""
    return Workshop(tmp_path / "home")


@pytest.fixture
def run_id(session_factory: SessionFactory, folder: Path, workshop: Workshop) -> UUID:
    """A run that serves a policy which writes `happy` far more often than its reference."""
    happy = load_tokenizer(folder)("happy", add_special_tokens=False)["input_ids"][0]
    policy = Policy(LanguageModel.load(folder))
    with torch.no_grad():
        embeddings = policy.language_model.model.get_output_embeddings().weight
        embeddings[happy] += 3 * embeddings.mean(dim=0).sign()
    digest = publish(workshop.store, policy, load_tokenizer(folder))
    with session_scope(session_factory) as session:
        run = make_run(session, base_model=str(folder))
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        run.serving_id = make_checkpoint(session, run, kind=CheckpointKind.POLICY, digest=digest).id
        for text in ("the sun was", "she was sad", "he and a door"):
            make_prompt(session, text=text, split=Split.TEST)
        return run.id


def options(run_id: UUID | None, judge: Score, *, policy: int | None = None) -> Options:
    """Sixty samples of each."""
    return Options(run_id=run_id, policy_number=policy, judge_name="test", judge=judge, samples=60, seed=3)


def count_happy(_: str, text: str) -> float:
    """A judge that counts a word."""
    return float(text.count("happy"))


def test_a_difference_is_found_kept_and_said(session_factory: SessionFactory, workshop: Workshop, run_id: UUID) -> None:
    said: list[str] = []
    report = evaluate(session_factory, workshop, options(run_id, count_happy), progress=said.append)
    assert report.policy_mean.low > report.reference_mean.high
    assert report.kl.low > 0
    assert report.wins > report.losses
    assert "better on" in said[-1]
    with session_scope(session_factory) as session:
        kept = session.scalars(select(Evaluation)).one()
        assert kept.policy_id == session.get_one(Run, run_id).serving_id
        assert kept.result["policy_mean"] == report.policy_mean.mean


def test_the_same_seed_gives_the_same_report(session_factory: SessionFactory, workshop: Workshop, run_id: UUID) -> None:
    first, second = (
        evaluate(session_factory, workshop, options(run_id, count_happy), progress=lambda _: None) for _ in range(2)
    )
    assert first == second


def test_what_is_not_there_is_told(session_factory: SessionFactory, workshop: Workshop, run_id: UUID) -> None:
    with pytest.raises(NotFoundError, match="no policy 7"):
        evaluate(session_factory, workshop, options(run_id, count_happy, policy=7), progress=lambda _: None)
