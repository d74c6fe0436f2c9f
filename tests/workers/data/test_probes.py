"""The probe_reward job on a tiny model: from the request to the report."""

from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import probes
from app.db import SessionFactory, session_scope
from app.errors import ConflictError
from app.hparams import planned
from app.kinds import JobKind, Question, Split, Verdict
from app.models import Checkpoint, CheckpointKind, Label, LabelAnswer, Sample
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run, make_sample
from tests.tiny import save_tiny_model
from tests.workers.data.test_leave_out import answer, claimed
from workers.data.probes import probe_plan
from workers.handlers import probe_reward, train_reward
from workers.models import weights_digest
from workers.plan import start_job
from workers.work import Work
from workers.workshop import Workshop

HEADS = {"heads": [{"readouts": [{"pooling": "mean", "depth": 0.5}], "tuned": False}], "normalization_samples": 8}


def test_prompts_that_train_nothing_come_first_and_better_texts_stand_beside_what_was_chosen(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    run.reward_model_id = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL).id
    compared = make_comparison(session, run)
    answer(session, ada, compared, 1)
    label = session.scalars(select(Label)).one()
    session.add(LabelAnswer(label_id=label.id, question=Question.BETTER, text="a better one."))
    test = make_sample(session, run, make_prompt(session, split=Split.TEST))
    invalid = make_sample(session, run, make_prompt(session, split=Split.TEST))
    invalid.valid = False
    session.flush()
    plan = probe_plan(session, claimed(session, probes.ask(session, run.id)))
    assert plan.samples[0].id == test.id
    assert len(plan.samples) == 5
    chosen = session.get_one(Sample, label.chosen_sample_id)
    assert [(one.better, one.sample) for one in plan.edited] == [("a better one.", tuple(chosen.token_ids))]
    assert label.verdict == Verdict.BEST


def test_without_a_reward_model_it_is_refused(session: Session) -> None:
    with pytest.raises(ConflictError, match="label on"):
        probes.ask(session, make_run(session).id)


def test_the_newest_reward_model_is_probed(session_factory: SessionFactory, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = save_tiny_model(tmp_path / "tiny")
    workshop = Workshop(tmp_path / "home")
    with session_scope(session_factory) as session:
        task = {"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1}
        hparams = planned("sentiment-small", {"task": task, "reward": HEADS})
        run = make_run(session, base_model=str(folder), hparams=hparams.model_dump(mode="json"))
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        ada = make_account(session)
        for number in range(12):
            prompt = make_prompt(session, text=f"the sun was in {number}")
            comparison = make_comparison(session, run, prompt=prompt)
            for place, sample in enumerate(session.scalars(select(Sample).where(Sample.prompt_id == prompt.id))):
                sample.token_ids, sample.kept_tokens = [2 + (number + place) % 16, 5, 9, 3, 12, 18], 6
            answer(session, ada, comparison, number % 4)
        run_id = run.id
        claim = claimed(session, start_job(session, run_id, JobKind.TRAIN_REWARD, {}))
    train_reward(Work(claim=claim, factory=session_factory, workshop=workshop, should_stop=lambda: False))
    with session_scope(session_factory) as session:
        claim = claimed(session, probes.ask(session, run_id))
    probe_reward(Work(claim=claim, factory=session_factory, workshop=workshop, should_stop=lambda: False))
    with session_scope(session_factory) as session:
        job = probes.newest(session, run_id)
        assert job is not None
        assert job.result is not None
        by_name = {one["name"]: one for one in job.result["probes"]}
        assert UUID(job.result["reward_model"])
        assert by_name["edited_better"]["n"] == 0
        assert by_name["shuffled_words"]["n"] == 48
        share = by_name["shuffled_words"]["share"]
        assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
        assert by_name["copied_prompt"]["difference"] is not None
