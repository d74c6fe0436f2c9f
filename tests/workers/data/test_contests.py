"""A blind head-to-head from its first request to its result, on a tiny model."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import comparisons, contests, copying, labeling, reports
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import planned
from app.kinds import JobKind, Split
from app.models import (
    Checkpoint,
    Comparison,
    ComparisonSample,
    Contest,
    ContestItem,
    Job,
    JobState,
    Prompt,
    Run,
    Sample,
    Verdict,
)
from tests.factories import make_account, make_comparison, make_prompt, make_run
from tests.tiny import save_tiny_model
from tests.workers.data.test_leave_out import answer, claimed
from workers import fencing
from workers.handlers import contest, train_reward
from workers.models import weights_digest
from workers.plan import start_job
from workers.work import Work
from workers.workshop import Workshop

TASK = {
    "max_sampling_rounds": 64,
    "query_tokens": 8,
    "response_tokens": 6,
    "min_terminator_index": 1,
    "temperature": 1.0,
}
HEADS = {"heads": [{"readouts": [{"pooling": "mean", "depth": 0.5}], "tuned": False}], "normalization_samples": 8}


@pytest.fixture
def run_id(session_factory: SessionFactory, tmp_path: Path) -> UUID:
    """A run of a tiny model with twelve test prompts, four of which somebody has answered."""
    torch.manual_seed(0)
    folder = save_tiny_model(tmp_path / "tiny")
    with session_scope(session_factory) as session:
        hparams = planned("sentiment-small", {"task": TASK}).model_dump(mode="json")
        run = make_run(session, base_model=str(folder), hparams=hparams)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        for number in range(12):
            prompt = make_prompt(session, text=f"The sun was in. She and he. A home. It was {number}", split=Split.TEST)
            prompt.reference = "she was happy ." if number < 4 else None
        return run.id


def asked(session: Session, run_id: UUID, left: str = "lead-3", right: str = "reference", **more: int) -> Contest:
    given: dict[str, Any] = {"prompts": 6, "per_side": 1, "labelers": 2, "seed": 3, **more}
    return contests.create(session, run_id, left=left, right=right, **given, actor_id=None)


def write(factory: SessionFactory, home: Path) -> Job:
    """Do the contest's job."""
    with session_scope(factory) as session:
        job = session.scalars(select(Job).where(Job.kind == JobKind.CONTEST)).one()
        claim = fencing.claim(session, job.id, worker="w", stale_seconds=30)
        assert claim is not None
    contest(Work(claim=claim, factory=factory, workshop=Workshop(home), should_stop=lambda: False))
    with session_scope(factory) as session:
        return session.get_one(Job, claim.job_id)


def vote(session: Session, run_id: UUID, labeler: UUID, *, for_left: bool | None) -> int:
    """One labeler answers all they get: for one side always, or (None) that it is a tie; how many."""
    answered = 0
    while lent := labeling.lease(session, labeler, run_id, count=8, lease_seconds=60):
        for lease in lent:
            item = session.get_one(ContestItem, lease.comparison_id)
            chosen = next(id_ for id_, _ in lease.samples if (id_ in item.left_samples) == bool(for_left))
            best = for_left is not None
            labeling.record(
                session,
                labeler,
                lease.comparison_id,
                verdict=Verdict.BEST if best else Verdict.TIE,
                choice=chosen if best else None,
                key=str(uuid4()),
            )
            answered += 1
    return answered


def test_from_the_question_to_the_answer(session_factory: SessionFactory, run_id: UUID, tmp_path: Path) -> None:
    with session_scope(session_factory) as session:
        contest_id = asked(session, run_id).id
    job = write(session_factory, tmp_path / "home")
    assert (job.state, job.result) == (JobState.DONE, {"comparisons": 6, "unfinished": 0})
    with session_scope(session_factory) as session:
        texts = session.execute(
            select(Sample.text, Prompt.text, Sample.id.in_(session.scalars(select(ContestItem.left_samples)).all()[0]))
            .join(Prompt, Prompt.id == Sample.prompt_id)
            .join(ComparisonSample, ComparisonSample.sample_id == Sample.id)
        ).all()
        assert len(texts) == 12
        leads = [text for text, prompt, _ in texts if text == copying.lead(prompt)]
        assert leads == ["The sun was in. She and he. A home."] * 6
        ada, bob = make_account(session, "Ada"), make_account(session, "Bob")
        assert vote(session, run_id, ada.id, for_left=True) == 6
        assert vote(session, run_id, bob.id, for_left=None) == 6
        assert vote(session, run_id, make_account(session, "Cleo").id, for_left=True) == 0  # two were asked for
        found = reports.contest_result(session, contest_id)
    assert (found.left, found.right) == ("lead-3", "reference")
    assert (found.comparisons, found.complete, found.wins, found.losses, found.ties) == (6, 6, 0, 0, 6)
    assert found.win_rate is not None
    assert found.win_rate.mean == 0.5
    assert found.agreement[""] == (0.0, 6)
    assert found.at_equal_length is not None
    assert found.at_equal_length > 0.7  # of the votes that were no ties
    assert len(found.examples) == 6


def test_two_and_two_in_one_comparison(session_factory: SessionFactory, run_id: UUID, tmp_path: Path) -> None:
    with session_scope(session_factory) as session:
        other = make_run(session, base_model=session.get_one(Run, run_id).base_model)
        digest = session.get_one(Checkpoint, session.get_one(Run, run_id).reference_id).digest
        session.get_one(Checkpoint, other.reference_id).digest = digest
        other.name = "supervised"
        made = asked(session, run_id, left=str(other.reference_id), per_side=2, prompts=3)
        assert made.left["name"] == "reference of supervised"
    write(session_factory, tmp_path / "home")
    with session_scope(session_factory) as session:
        items = session.scalars(select(ContestItem)).all()
        assert [len(one.left_samples) for one in items] == [2] * len(items)
        sizes = session.scalars(select(ComparisonSample.slot).where(ComparisonSample.slot == 3)).all()
        assert len(sizes) == len(items) == 3


def test_reference_texts_meet_the_best_of_two_by_the_reward_model(
    session_factory: SessionFactory, run_id: UUID, tmp_path: Path
) -> None:
    with session_scope(session_factory) as session:
        run, ada = session.get_one(Run, run_id), make_account(session)
        run.hparams = planned("sentiment-small", {"task": TASK, "reward": HEADS}).model_dump(mode="json")
        for number in range(12):
            made = make_comparison(session, run, prompt=make_prompt(session, text=f"the sun was in {number}"))
            for place, sample in enumerate(session.scalars(select(Sample).where(Sample.prompt_id == made.prompt_id))):
                sample.token_ids, sample.kept_tokens = [2 + (number + place) % 16, 5, 9, 3, 12, 18], 6
            answer(session, ada, made, number % 4)
        claim = claimed(session, start_job(session, run_id, JobKind.TRAIN_REWARD, {}))
    workshop = Workshop(tmp_path / "home")
    train_reward(Work(claim=claim, factory=session_factory, workshop=workshop, should_stop=lambda: False))
    with session_scope(session_factory) as session:
        contest_id = asked(session, run_id, left="texts", right="reference best of 2", prompts=4).id
    assert write(session_factory, tmp_path / "home").result == {"comparisons": 4, "unfinished": 0}
    with session_scope(session_factory) as session:
        found = reports.contest_result(session, contest_id)
        ids = [id_ for one in session.scalars(select(ContestItem)) for id_ in one.left_samples]
        written = session.scalars(select(Sample.text).where(Sample.id.in_(ids))).all()
    assert (found.left, found.right) == ("reference texts", "reference, best of 2")
    assert list(written) == ["she was happy ."] * 4


def test_a_contest_does_not_grow_stale(session_factory: SessionFactory, run_id: UUID, tmp_path: Path) -> None:
    with session_scope(session_factory) as session:
        asked(session, run_id)
    write(session_factory, tmp_path / "home")
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        run.promotions += 5
        assert comparisons.retire_stale(session, run) == 0
        assert len(session.scalars(select(Comparison)).all()) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left": "policy 7"}, "is no writer"),
        ({"left": "reference"}, "choose two"),
        ({"left": "reference best of 4"}, "has none yet"),
        ({"left": "lead-3", "per_side": 2}, "1 sample of each side"),
        ({"left": "texts", "prompts": 5}, "1 to 4 prompts"),
        ({"prompts": 13}, "1 to 12 prompts"),
        ({"left": "reference best of 1000"}, "out of reach"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    session_factory: SessionFactory, run_id: UUID, change: dict[str, object], said: str
) -> None:
    with session_scope(session_factory) as session, pytest.raises(InvalidError, match=said):
        asked(session, run_id, **change)  # type: ignore[arg-type]
