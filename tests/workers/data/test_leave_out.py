"""The leave_out job: what it compares, and from the request to the labeler's page on a tiny model."""

from pathlib import Path

import pytest
import torch
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import exclusions, labeling
from app.db import SessionFactory, session_scope
from app.errors import ConflictError, NotFoundError
from app.hparams import planned
from app.kinds import JobKind, Verdict
from app.models import Account, Assignment, Checkpoint, Comparison, ComparisonSample, Job, JobState, Run, Sample
from tests.factories import make_account, make_comparison, make_prompt, make_run
from tests.tiny import save_tiny_model
from workers import fencing
from workers.data.reward import leave_out_plan
from workers.handlers import leave_out
from workers.models import weights_digest
from workers.work import Work
from workers.workshop import Workshop


def answer(session: Session, person: Account, comparison: Comparison, slot: int) -> None:
    of_it = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == comparison.id)
    samples = list(session.scalars(of_it.order_by(ComparisonSample.slot)))
    lent = {"comparison_id": comparison.id, "labeler_id": person.id, "expires_at": func.clock_timestamp()}
    session.add(Assignment(shown=samples, **lent))
    comparison.leased += 1
    session.flush()
    labeling.record(
        session, person.id, comparison.id, verdict=Verdict.BEST, choice=samples[slot], key=str(comparison.id)
    )


def claimed(session: Session, job: Job) -> fencing.Claim:
    claim = fencing.claim(session, job.id, worker="test", stale_seconds=30)
    assert claim is not None
    return claim


def test_anothers_label_stands_in_where_theirs_is_left_out(session: Session) -> None:
    run, ada, bob = make_run(session), make_account(session, "Ada"), make_account(session, "Bob")
    by_both, by_ada = make_comparison(session, run, wanted=2), make_comparison(session, run)
    answer(session, ada, by_both, 0)
    answer(session, bob, by_both, 1)
    answer(session, ada, by_ada, 2)
    plan = leave_out_plan(session, claimed(session, exclusions.consider(session, run.id, ada.id)))
    assert sorted(one.target.index(1.0) for one in plan.everybody) == [0, 2]
    assert len(plan.theirs) == 2
    assert [one.target.index(1.0) for one in plan.others] == [1]
    plan = leave_out_plan(session, claimed(session, exclusions.consider(session, run.id, bob.id)))
    assert (len(plan.everybody), len(plan.theirs), len(plan.others)) == (2, 0, 2)


def test_nobody_is_considered_twice_over(session: Session) -> None:
    run, ada = make_run(session), make_account(session, "Ada")
    assert exclusions.considered(session, run.id, ada.id) is None
    first, second = (exclusions.consider(session, run.id, ada.id) for _ in range(2))
    assert first.step < second.step
    assert exclusions.considered(session, run.id, ada.id) is second
    exclusions.exclude(session, run.id, ada.id, None, "sleeps")
    with pytest.raises(ConflictError, match="include them first"):
        exclusions.consider(session, run.id, ada.id)
    with pytest.raises(NotFoundError):
        exclusions.consider(session, run.id, run.id)


def test_it_is_found_out_by_a_job_and_nothing_changes(session_factory: SessionFactory, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = save_tiny_model(tmp_path / "tiny")
    with session_scope(session_factory) as session:
        task = {"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1}
        hparams = planned("sentiment-small", {"task": task})
        run = make_run(session, base_model=str(folder), hparams=hparams.model_dump(mode="json"))
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        people = [make_account(session, name) for name in ("Ada", "Bob")]
        for number in range(40):
            prompt = make_prompt(session, text=f"the sun was in {number}")
            comparison = make_comparison(session, run, prompt=prompt)
            for sample in session.scalars(select(Sample).where(Sample.prompt_id == prompt.id)):
                sample.token_ids = [2 + (number * 7 + len(sample.text)) % 16, 5, 18]
                sample.logprobs, sample.kept_tokens = [-1.0] * 3, 3
            answer(session, people[number % 2], comparison, number % 4)
        job_id = exclusions.consider(session, run.id, people[0].id).id
        run_id, labeler_id = run.id, people[0].id
        claim = claimed(session, session.get_one(Job, job_id))
    leave_out(Work(claim=claim, factory=session_factory, workshop=Workshop(tmp_path), should_stop=lambda: False))
    with session_scope(session_factory) as session:
        job = exclusions.considered(session, run_id, labeler_id)
        assert job is not None
        assert job.state == JobState.DONE
        assert job.result is not None
        assert [job.result[name] for name in ("labels", "theirs", "others", "held_out")] == [40, 20, 20, 20]
        assert job.result["change"]["low"] <= job.result["change"]["value"] <= job.result["change"]["high"]
        assert session.get_one(Run, run_id).reward_model_id is None
        assert session.scalars(select(Job.kind)).all() == [JobKind.LEAVE_OUT]
