"""The read_samples job on a tiny model: what it leaves of samples of a reference, of a policy, and of people."""

from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import select

from app import reports, samples
from app.db import SessionFactory, session_scope
from app.errors import InvalidError, NotFoundError
from app.hparams import planned
from app.kinds import JobKind, Split
from app.models import Checkpoint, Job, JobState, Run, Sample, SampleReading
from tests.factories import make_prompt, make_run
from tests.tiny import save_tiny_model
from workers import fencing
from workers.handlers import HANDLERS
from workers.models import weights_digest
from workers.work import Work
from workers.workshop import Workshop

TASK = {"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1, "temperature": 1.0}


@pytest.fixture
def run_id(session_factory: SessionFactory, tmp_path: Path) -> UUID:
    """A run of a tiny model with test prompts."""
    torch.manual_seed(0)
    folder = save_tiny_model(tmp_path / "tiny")
    with session_scope(session_factory) as session:
        hparams = planned("sentiment-small", {"task": TASK}).model_dump(mode="json")
        run = make_run(session, base_model=str(folder), hparams=hparams)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        for number in range(4):
            make_prompt(session, text=f"the sun was in {'the ' * number}home", split=Split.TEST)
        return run.id


def do(factory: SessionFactory, home: Path, kind: JobKind) -> Job:
    """Do the one queued job of a kind."""
    with session_scope(factory) as session:
        queued = select(Job).where(Job.kind == kind, Job.state == JobState.QUEUED)
        claim = fencing.claim(session, session.scalars(queued).one().id, worker="w", stale_seconds=30)
        assert claim is not None
    HANDLERS[kind](Work(claim=claim, factory=factory, workshop=Workshop(home), should_stop=lambda: False))
    with session_scope(factory) as session:
        return session.get_one(Job, claim.job_id)


def test_what_is_written_for_the_page_is_read_and_the_reference_is_no_nat_from_itself(
    session_factory: SessionFactory, run_id: UUID, tmp_path: Path
) -> None:
    with session_scope(session_factory) as session:
        reference = session.get_one(Run, run_id).reference_id
        assert reference is not None
        samples.write(session, run_id, reference)
    assert do(session_factory, tmp_path / "home", JobKind.SHOWCASE).result == {"samples": 4}
    with session_scope(session_factory) as session:
        found = session.scalars(select(SampleReading)).all()
        assert len(found) == 4
        assert all(abs(nats) < 1e-3 for one in found for nats in one.token_kl)
        page = reports.browse(session, session.get_one(Run, run_id), reports.SampleQuery(left=reference))
        assert page.unmeasured == ()
        for prompt in page.prompts:
            for sample in prompt.columns[0]:
                assert "".join(token.text for token in sample.tokens) == sample.text


def test_samples_are_read_once_and_texts_of_people_never(
    session_factory: SessionFactory, run_id: UUID, tmp_path: Path
) -> None:
    with session_scope(session_factory) as session:
        reference = session.get_one(Run, run_id).reference_id
        assert reference is not None
        samples.write(session, run_id, reference)
    do(session_factory, tmp_path / "home", JobKind.SHOWCASE)
    with session_scope(session_factory) as session:
        before = {one.sample_id: one.token_kl for one in session.scalars(select(SampleReading))}
        rows = session.scalars(select(Sample).order_by(Sample.id)).all()
        for reading in session.scalars(select(SampleReading)):
            session.delete(reading)
        half_a_nat_likelier, of_people = rows[0], rows[1]
        half_a_nat_likelier.logprobs = [nats + 0.5 for nats in half_a_nat_likelier.logprobs]
        of_people.logprobs = []
        samples.read(session, run_id, [row.id for row in rows])
    assert do(session_factory, tmp_path / "home", JobKind.READ_SAMPLES).result == {"read": 3, "scored": 0}
    with session_scope(session_factory) as session:
        found = {one.sample_id: one for one in session.scalars(select(SampleReading))}
        assert of_people.id not in found
        moved = found[half_a_nat_likelier.id]
        assert moved.kl == pytest.approx(0.5 * half_a_nat_likelier.kept_tokens, abs=1e-3)
        untouched = rows[2].id
        assert found[untouched].token_kl == pytest.approx(before[untouched], abs=1e-5)
        samples.read(session, run_id, [row.id for row in rows])
    assert do(session_factory, tmp_path / "home", JobKind.READ_SAMPLES).result == {"read": 0, "scored": 0}


def test_what_makes_no_sense_is_refused(session_factory: SessionFactory, run_id: UUID) -> None:
    with session_scope(session_factory) as session:
        with pytest.raises(InvalidError, match="Name 1 to 256 samples"):
            samples.read(session, run_id, [])
        with pytest.raises(NotFoundError):
            samples.write(session, run_id, run_id)
