"""The table of summaries, and the alarm when a policy turns into a copier."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import torch

from app import reports
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import AndonHParams, preset
from app.models import Checkpoint, Metric, Run, Split
from app.reports.summaries import NOVEL, figures, measured
from tests.factories import make_checkpoint, make_comparison, make_prompt, make_run
from tests.tiny import save_tiny_model
from workers import summaries, tracking
from workers.detectors import Evidence, Tally, alarms
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import load_tokenizer
from workers.published import publish
from workers.workshop import Workshop

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
NOBODY = Tally(hits=0, misses=0, attempt=1)


def run_of(factory: SessionFactory, base: str) -> UUID:
    hparams = preset("tldr").model_dump(mode="json")
    hparams["task"] |= {"query_tokens": 40, "response_tokens": 12, "min_terminator_index": 0, "terminator": None}
    with session_scope(factory) as session:
        return make_run(session, base_model=base, hparams=hparams | {"prompt_set": "posts"}).id


def evidence(novel: tuple[float, float] | None) -> Evidence:
    return Evidence(first=[], last=[], batch=8, kl_target=None, blind=NOBODY, choices=NOBODY, novel=novel)


@pytest.mark.parametrize(
    ("novel", "stopped"), [(None, False), ((0.3, 0.92), False), ((0.22, 0.92), True), ((0.0, 0.0), False)]
)
def test_the_line_stops_for_a_copier_alone(novel: tuple[float, float] | None, stopped: bool) -> None:
    found = alarms(evidence(novel), AndonHParams())
    assert bool(found) == stopped
    assert all("The policy copies" in reason for reason in found)
    assert alarms(evidence(novel), AndonHParams(novel_share=None)) == []


def test_what_a_policy_copies_is_measured_and_reaches_the_alarm(session_factory: SessionFactory) -> None:
    run_id = run_of(session_factory, "tiny")
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        prompt = make_prompt(session, text="The mayor left. Nobody knew why. The town slept.")
        own, copied = "A mayor was gone.", "Nobody knew why."
        policy = make_checkpoint(session, run, episodes=640)
        for writer, text in ((None, own), (policy, copied)):
            for n in range(20):
                made = make_prompt(session, text=f"{prompt.text} {n} {'first' if writer is None else 'second'}")
                make_comparison(session, run, prompt=made, policy=writer, texts=(text,) * 4)
        run.serving_id = policy.id
        for checkpoint in (session.get_one(Checkpoint, run.reference_id), policy):
            found = figures(measured(session, run.id, checkpoint.id))
            low, high = found[NOVEL][1:]
            assert low is not None
            assert high is not None
            stats = {NOVEL: tracking.Estimate(value=found[NOVEL][0], low=low, high=high)}
            tracking.record(session, run.id, checkpoint.episodes, stats)
        seen = reports.novel_sentences(session, run, BEGINNING)
        assert seen is not None
        assert seen[1] == 1.0
        assert 0 < seen[0] < 0.06  # 95 % interval of none in 80
        assert alarms(evidence(seen), AndonHParams())
        assert session.get_one(Metric, (run.id, NOVEL, 640)).value == 0.0


def test_baselines_and_copying_stand_in_one_table(session_factory: SessionFactory, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    run_id = run_of(session_factory, str(base))
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(base)
        for n in range(6):
            prompt = make_prompt(session, text=f"the sun was home. it was sad. rain. the door {n}", prompt_set="posts")
            prompt.split, prompt.reference = Split.TEST, "the sun was home."
    options = summaries.Options(run_id=run_id, also=(), supervised=base, samples=4, seed=1)
    rows = summaries.table(session_factory, Workshop(tmp_path, threads=1), options, said=lambda _: None)
    by_name = {row["writer"]: row for row in rows}
    assert list(by_name) == ["human reference", "lead-3", "zero-shot", "supervised"]
    assert by_name["human reference"]["rouge1"] == pytest.approx(100)
    assert by_name["lead-3"]["novel_sentences"] == 0
    assert by_name["lead-3"]["openings"] == 1
    assert by_name["zero-shot"] == by_name["supervised"] | {"writer": "zero-shot"}  # the same weights, the same seed
    with session_scope(session_factory) as session:
        kept = reports.summary_table(session, run_id)
        assert kept is not None
        assert (kept.samples, list(kept.rows)) == (4, list(by_name))


def test_lead_3_is_cut_to_whole_words_of_its_own_whatever_the_tokenizer_knows(
    session_factory: SessionFactory, tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    run_id = run_of(session_factory, str(base))
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(base)
        text = "Penrose closed its bridge. Inspectors found deep cracks in two of its pillars, and more. It was sad."
        prompt = make_prompt(session, text=text, prompt_set="posts")
        prompt.split, prompt.reference = Split.TEST, "Penrose closed its bridge."
    options = summaries.Options(run_id=run_id, also=(), supervised=None, samples=4, seed=1)
    rows = summaries.table(session_factory, Workshop(tmp_path, threads=1), options, said=lambda _: None)
    (lead,) = [row for row in rows if row["writer"] == "lead-3"]
    assert lead["words"] == 12, "each is one token, and a sample has twelve"
    assert (lead["novel_sentences"], lead["novel_1grams"], lead["novel_bigrams"], lead["openings"]) == (0, 0, 0, 1)


def test_ppo_on_top_of_the_supervised_model_has_a_row_of_its_own(
    session_factory: SessionFactory, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    base = save_tiny_model(tmp_path / "tiny")
    policy = Policy(LanguageModel.load(base))
    with torch.no_grad():
        for weight in policy.language_model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    workshop = Workshop(tmp_path, threads=1)
    learned = publish(workshop.store, policy, load_tokenizer(base))
    supervised = workshop.store.load_checked(learned).folder  # as a fine-tuned folder: other weights, same files
    untouched = publish(workshop.store, Policy(LanguageModel.load(supervised)), load_tokenizer(base))
    run_id, other_id = run_of(session_factory, str(base)), run_of(session_factory, str(supervised))
    with session_scope(session_factory) as session:
        run, other = session.get_one(Run, run_id), session.get_one(Run, other_id)
        run.name, other.name = "from the model", "from the supervised"
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(base)
        session.get_one(Checkpoint, other.reference_id).digest = weights_digest(supervised)
        run.serving_id = make_checkpoint(session, run, digest=learned).id
        other.serving_id = make_checkpoint(session, other, digest=untouched).id
        for n in range(6):
            prompt = make_prompt(session, text=f"the sun was home. it was sad. rain. the door {n}", prompt_set="posts")
            prompt.split, prompt.reference = Split.TEST, "the sun was home."
    options = summaries.Options(run_id=run_id, also=(other_id,), supervised=supervised, samples=6, seed=1)
    rows = {row["writer"]: row for row in summaries.table(session_factory, workshop, options, said=lambda _: None)}
    tuned, both = "PPO (from the model)", "supervised + PPO (from the supervised)"
    assert list(rows)[2:] == ["zero-shot", "supervised", tuned, both]
    assert rows["supervised"] == rows[both] | {"writer": "supervised"}, "it wrote with the supervised model's weights"
    assert rows["supervised"] == rows[tuned] | {"writer": "supervised"}, "and this policy has the same"
    assert rows["supervised"] != rows["zero-shot"] | {"writer": "supervised"}


def test_prompts_without_references_give_no_table(session_factory: SessionFactory, tmp_path: Path) -> None:
    run_id = run_of(session_factory, "tiny")
    options = summaries.Options(run_id=run_id, also=(), supervised=None, samples=4, seed=1)
    with pytest.raises(InvalidError, match="No test prompt of posts has a reference"):
        summaries.table(session_factory, Workshop(tmp_path, threads=1), options, said=lambda _: None)
