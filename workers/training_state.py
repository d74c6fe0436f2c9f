"""What PPO goes on from, as tensors and numbers: everything that an update reads beside the plan."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from torch import Tensor, nn

from workers.checkpoints import (
    CheckpointStore,
    LostCheckpointError,
    TensorFiles,
    pack_optimizer,
    unpack_optimizer,
)
from workers.ppo_trainer import PPOTrainer, Progress
from workers.sharding import all_whole, split_as
from workers.sign_check import Probe


class LostStateError(LostCheckpointError):
    """A training state is gone or its files are broken; PPO may go on from the one before it."""


def pack(trainer: PPOTrainer) -> tuple[TensorFiles, dict[str, Any]]:
    """Files and meta of a training state: weights, optimizer, the probe of the sign check, progress.

    Of several processes all must ask; what the first is given is to be saved.
    """
    models, probe, keep = trainer.models, trainer.guards.probe, trainer.ranks.rank == 0
    files = {
        "policy": all_whole(models.policy.state_dict(), keep=keep),
        "optimizer": all_whole(pack_optimizer(trainer.learner.optimizer, models.trained()), keep=keep),
    }
    if models.value_network is not None:
        files["value"] = all_whole(models.value_network.state_dict(), keep=keep)
    if probe is not None:
        files["probe"] = {field.name: getattr(probe, field.name) for field in fields(probe)}
    return files, asdict(trainer.progress)


def unpack(trainer: PPOTrainer, files: TensorFiles, meta: Mapping[str, Any]) -> None:
    """Put a training state into a trainer built from the same plan.

    Raises: KeyError or ValueError if it is another model's, or has no value network where one is trained.
    """
    models = trainer.models
    _load(models.policy, files["policy"])
    if models.value_network is not None:
        _load(models.value_network, files["value"])
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


def _load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    mine = module.state_dict()
    module.load_state_dict({name: split_as(mine.get(name, value), value) for name, value in weights.items()})


def _copies(tensors: Mapping[str, Tensor], *, like: Any) -> dict[str, Tensor]:
    return {name: tensor.to(like, copy=True) for name, tensor in tensors.items()}
