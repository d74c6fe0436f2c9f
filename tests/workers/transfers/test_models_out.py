"""Models out: folders that transformers opens, with a card that says how they were made; pushed where asked."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from app import transfers
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import PAPER_HEAD, RunHParams, preset
from app.models import Agreement, Checkpoint, CheckpointKind, Evaluation, Guideline, LabelSet
from app.orders import ModelOrder
from tests.factories import make_checkpoint, make_run
from tests.tiny import save_tiny_model
from tests.workers.transfers.carried import errand_on, result_of
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.reward_model import Read, RewardModel
from workers.nets.tokenizer import load_tokenizer
from workers.published import publish
from workers.transfers import models_out
from workers.workshop import REWARD_KIND, Workshop


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "home", threads=1)


def run_with(factory: SessionFactory, base: Path, kind: CheckpointKind, digest: str) -> UUID:
    """A run with one checkpoint, and what a card tells of it; the checkpoint's id."""
    hparams: RunHParams = preset("tldr")
    with session_scope(factory) as session:
        run = make_run(session, base_model=str(base), hparams=hparams.model_dump(mode="json"), name="posts")
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(base)
        label_set = LabelSet(run_id=run.id, size=6_000)
        session.add(label_set)
        session.flush()
        accuracy = {"value": 0.612, "low": 0.58, "high": 0.64}
        judge = make_checkpoint(
            session,
            run,
            kind=CheckpointKind.REWARD_MODEL,
            number=3,
            label_set_id=label_set.id,
            report={"accuracy_valid": accuracy},
            digest=digest,
        )
        if kind == CheckpointKind.REWARD_MODEL:
            return judge.id
        made = make_checkpoint(
            session,
            run,
            number=7,
            digest=digest,
            reward_model_id=judge.id,
            episodes=2048,
            kl_coef=0.03,
            report={"kl": 4.25},
        )
        session.add(Evaluation(run_id=run.id, policy_id=made.id, judge="vader", samples=512, result={"wins": 400}))
        session.add(Guideline(run_id=run.id, version=1, text="Prefer accurate summaries."))
        rows = [{"writer": "lead-3", "rouge1": 40.379, "rouge2": 17.658, "rougeL": 36.618, "novel_sentences": 0.0}]
        session.add(Evaluation(run_id=run.id, policy_id=made.id, judge="summaries", samples=9, result={"rows": rows}))
        percent = {"value": 0.46, "low": 0.44, "high": 0.48}
        counted: dict[str, Any] = {"comparisons": 1200, "labels": 6000, "alpha": None, "pairs": [], "weights": {}}
        session.add(Agreement(run_id=run.id, labels=6000, report=counted | {"percent": percent}))
        return made.id


def export(factory: SessionFactory, workshop: Workshop, checkpoint: UUID, to: str | None = None) -> Path:
    with session_scope(factory) as session:
        job_id = transfers.export_model(session, ModelOrder(checkpoint=checkpoint, to=to), account_id=None).id
    models_out.export_model(errand_on(factory, job_id, workshop.home), workshop)
    return Path(result_of(factory, job_id)["folder"])


def test_a_policy_opens_in_transformers_and_tells_how_it_was_made(
    session_factory: SessionFactory, base: Path, workshop: Workshop
) -> None:
    policy = Policy(LanguageModel.load(base))
    with torch.no_grad():
        policy.language_model.model.transformer.wte.weight.add_(0.01)
    digest = publish(workshop.store, policy, load_tokenizer(base))
    folder = export(session_factory, workshop, run_with(session_factory, base, CheckpointKind.POLICY, digest))
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(loaded.transformer.wte.weight, policy.language_model.model.transformer.wte.weight)
    assert AutoTokenizer.from_pretrained(folder)("the sun")["input_ids"]
    card = (folder / "README.md").read_text()
    for said in (
        *("# Policy 7 of posts", "| labels | 6,000 |", "| reward model | number 3 |", "61.2% [58.0%, 64.0%]"),
        *(
            "| KL from the base model | 4.25 nats per response |",
            "| PPO episodes | 2,048 |",
            "by vader: samples 512, wins 400",
        ),
        *("Prefer accurate summaries.", "pipeline_tag: text-generation"),
        "| labelers' agreement with each other | 46.0% [44.0%, 48.0%] on 1,200 comparisons |",
        "| lead-3 | 40.38 | 17.66 | 36.62 | 0% |  |",
    ):
        assert said in card


def test_a_tuned_head_on_the_last_token_opens_as_a_classifier(
    session_factory: SessionFactory, base: Path, workshop: Workshop
) -> None:
    model = RewardModel(LanguageModel.load(base), reads=(Read(),), frozen=False, generator=torch.Generator())
    meta = {"head": PAPER_HEAD.model_dump(mode="json"), "query": "formatted"}
    digest = workshop.store.save(REWARD_KIND, {"model": model.state_dict()}, meta)
    folder = export(session_factory, workshop, run_with(session_factory, base, CheckpointKind.REWARD_MODEL, digest))
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = torch.tensor([[2, 14, 5, 20]])
    expected = model.score_features(model.features(ids, torch.ones_like(ids, dtype=torch.bool)))
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits[:, 0], expected.detach(), atol=1e-4, rtol=1e-4)
    assert "AutoModelForSequenceClassification" in (folder / "README.md").read_text()


def test_it_is_pushed_to_any_store_of_fsspec_byte_for_byte(
    session_factory: SessionFactory, base: Path, workshop: Workshop, tmp_path: Path
) -> None:
    digest = publish(workshop.store, Policy(LanguageModel.load(base)), load_tokenizer(base))
    checkpoint = run_with(session_factory, base, CheckpointKind.POLICY, digest)
    folder = export(session_factory, workshop, checkpoint, to=f"file://{tmp_path}/bucket/model")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    pushed = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "bucket" / "model").iterdir()}
    assert pushed == sums


def test_a_training_state_is_no_model(session_factory: SessionFactory, base: Path, workshop: Workshop) -> None:
    with session_scope(session_factory) as session:
        run = make_run(session, base_model=str(base))
        state = make_checkpoint(session, run, kind=CheckpointKind.TRAINING_STATE).id
    with pytest.raises(InvalidError, match="training state is no model"):
        export(session_factory, workshop, state)
