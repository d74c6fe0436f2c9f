"""Models out: a policy or reward model as a Hugging Face folder with its card, pushed elsewhere where asked."""

import shutil
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app import retention, runs, transfers
from app.errors import InvalidError
from app.models import Checkpoint, CheckpointKind
from app.orders import ModelOrder
from app.reports.card import Card, card
from workers import fencing
from workers.data.common import policy_files
from workers.plans import PolicyFiles, RewardFiles
from workers.reward_folder import write_reward_model
from workers.transfers.errand import Errand
from workers.transfers.labels_out import described
from workers.transfers.model_card import render
from workers.transfers.pushing import push
from workers.workshop import Workshop

OURS = {"manifest.json", "value_head.safetensors"}
"""Of a published policy, what only Prefloop reads."""
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


def export_model(errand: Errand, workshop: Workshop) -> None:
    """Do an export of a checkpoint.

    Raises: InvalidError for a checkpoint that is no model, or a target that refuses it; UnavailableError if the target
    cannot be reached. The folder stays either way.
    """
    order = ModelOrder.model_validate(errand.claim.args["order"])
    with errand.transaction() as session:
        checkpoint, facts, files = _asked(session, order.checkpoint)
        task = runs.hparams_of(runs.get(session, checkpoint.run_id)).task
    folder = transfers.folder_of(errand.home, errand.claim.job_id) / f"{checkpoint.kind}-{checkpoint.number}"
    shutil.rmtree(folder, ignore_errors=True)
    classifier: bool | None = None
    reads = "formatted"
    if checkpoint.kind == CheckpointKind.REWARD_MODEL:
        reward = workshop.reward_model(files, RewardFiles(checkpoint_id=checkpoint.id, digest=checkpoint.digest))
        reads = workshop.store.manifest(checkpoint.digest)["meta"].get("query", "formatted")
        tokenizer = workshop.reference(files).tokenizer
        classifier = write_reward_model(folder, reward, tokenizer, task=task, reads=reads)
    else:
        _copy_policy(folder, workshop, files)
    (folder / "README.md").write_text(render(facts, classifier=classifier, reads=reads), encoding="utf-8")
    pushed = push(folder, order.to) if order.to else None
    found = [described(path) | {"name": f"{folder.name}/{path.name}"} for path in sorted(folder.iterdir())]
    with errand.transaction() as session:
        result = {"folder": str(folder), "classifier": classifier, "pushed": pushed, "model_files": found}
        fencing.finish(session, errand.claim, result)


def _asked(session: Session, checkpoint_id: UUID) -> tuple[Checkpoint, Card, PolicyFiles]:
    facts = card(session, checkpoint_id)
    checkpoint = session.get_one(Checkpoint, checkpoint_id)
    if checkpoint.kind not in (CheckpointKind.REFERENCE, CheckpointKind.POLICY, CheckpointKind.REWARD_MODEL):
        raise InvalidError(f"A {checkpoint.kind.replace('_', ' ')} is no model: choose a policy or reward model.")
    retention.require_files(checkpoint)
    run = runs.get(session, checkpoint.run_id)
    own = run.reference_id if checkpoint.kind == CheckpointKind.REWARD_MODEL else checkpoint.id
    return checkpoint, facts, policy_files(session, run, own)


def _copy_policy(folder: Path, workshop: Workshop, files: PolicyFiles) -> None:
    """A policy lies in the store as transformers opens it; the reference in its own folder."""
    if files.digest is None:
        source = workshop.reference(files).folder
        wanted = sorted({path for pattern in MODEL_FILES for path in source.glob(pattern)})
    else:
        source = workshop.store.load_checked(files.digest).folder
        wanted = sorted(path for path in source.iterdir() if path.is_file() and path.name not in OURS)
    folder.mkdir(parents=True)
    for path in wanted:
        shutil.copyfile(path, folder / path.name)
