"""What PPO goes on from, as tensors and numbers: everything that an update reads beside the plan."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from torch import Tensor

from workers.checkpoints import (
    CheckpointStore,
    LostCheckpointError,
    TensorFiles,
    pack_optimizer,
    unpack_optimizer,
)
from workers.ppo_trainer import PPOTrainer, Progress
from workers.sign_check import Probe


class LostStateError(LostCheckpointError):
    """A training state is gone or its files are broken; PPO may go on from the one before it."""


def pack(trainer: PPOTrainer) -> tuple[TensorFiles, dict[str, Any]]:
    """Files and meta of a training state: weights, optimizer, the probe of the sign check, progress."""
    models, probe = trainer.models, trainer.guards.probe
    files = {
        "policy": models.policy.state_dict(),
        "optimizer": pack_optimizer(trainer.learner.optimizer, models.trained()),
    }
    if models.value_network is not None:
        files["value"] = models.value_network.state_dict()
    if probe is not None:
        files["probe"] = {field.name: getattr(probe, field.name) for field in fields(probe)}
    return files, asdict(trainer.progress)


def unpack(trainer: PPOTrainer, files: TensorFiles, meta: Mapping[str, Any]) -> None:
    """Put a training state into a trainer built from the same plan.

    Raises: KeyError or ValueError if it is another model's, or has no value network where one is trained.
    """
    models = trainer.models
    models.policy.load_state_dict(files["policy"])
    if models.value_network is not None:
        models.value_network.load_state_dict(files["value"])
    unpack_optimizer(trainer.learner.optimizer, models.trained(), files["optimizer"])
    if "probe" in files:
        trainer.guards.probe = Probe(**_copies(files["probe"], like=models.policy.language_model.device))
    trainer.progress = Progress(**meta)


def restore(trainer: PPOTrainer, store: CheckpointStore, digest: str) -> None:
    """Put a stored training state into a trainer built from the same plan, if every byte is as it was saved.

    Raises: LostStateError naming the broken file; KeyError or ValueError as `unpack`.
    """
    try:
        loaded = store.load_checked(digest)
    except LostCheckpointError as error:
        raise LostStateError(error.fact) from error
    unpack(trainer, loaded.tensors, loaded.meta)


def _copies(tensors: Mapping[str, Tensor], *, like: Any) -> dict[str, Tensor]:
    return {name: tensor.to(like, copy=True) for name, tensor in tensors.items()}
