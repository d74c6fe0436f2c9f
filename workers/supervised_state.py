"""What a supervised fit has done so far, kept in a folder so that a killed one goes on."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import ConflictError
from workers.checkpoints import CheckpointStore, pack_optimizer, unpack_optimizer
from workers.nets.language_model import LanguageModel
from workers.rlhf.adam import TFAdam

NOTE = "fit.json"
BEST_KIND, STATE_KIND = "supervised_best", "supervised_state"


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(_Kept):
    """One learning rate seen through."""

    learning_rate: float
    held_out_loss: float | None
    """Nats per token; None: it diverged."""


class Note(_Kept):
    """The file that says where a fit stands; what it names is on disk."""

    setup: dict[str, Any]
    base_loss: float | None = None
    """Held-out loss of the base model, nats per token."""
    trials: tuple[Trial, ...] = ()
    best: str | None = None
    """Digest of the weights with the lowest held-out loss."""
    step: int = 0
    """Steps done with the rate after those of `trials`."""
    state: str | None = None
    """Digest of weights and optimizer after them."""


class Fitting:
    """The half-done fit in one folder."""

    def __init__(self, folder: Path, setup: Mapping[str, Any]) -> None:
        """Begin or go on.

        Args:
            setup: JSON values; all that the result depends on.
        Raises: ConflictError if the folder holds a fit with another setup.
        """
        self._folder = folder
        self._store = CheckpointStore(folder / "checkpoints")
        self._note = self._read() or Note(setup=dict(setup))
        if self._note.setup != dict(setup):
            raise ConflictError(
                f"{folder.parent} holds half a fit with other settings or data: give the same ones, or choose another "
                "folder."
            )
        self._keep()

    @property
    def base_loss(self) -> float | None:
        """Held-out loss of the base model, nats per token; None before it is known."""
        return self._note.base_loss

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Learning rates seen through."""
        return self._note.trials

    @property
    def best(self) -> Trial:
        """The rate with the lowest held-out loss, of those seen through."""
        return min(self.trials, key=lambda one: math.inf if one.held_out_loss is None else one.held_out_loss)

    def began(self, base_loss: float) -> None:
        """Note how good the base model is."""
        self._keep(base_loss=base_loss)

    def resume(self, model: LanguageModel, optimizer: TFAdam) -> int:
        """Put back the weights and optimizer of the rate in progress; how many steps were done with it."""
        if self._note.state is not None:
            tensors = self._store.load_checked(self._note.state).tensors
            model.load_state_dict(tensors["model"])
            unpack_optimizer(optimizer, dict(model.named_parameters()), tensors["optimizer"])
        return self._note.step

    def stopped_at(self, step: int, model: LanguageModel, optimizer: TFAdam) -> None:
        """Keep a rate in progress, in the place of what was kept of it before."""
        files = {"model": model.state_dict(), "optimizer": pack_optimizer(optimizer, dict(model.named_parameters()))}
        self._keep(step=step, state=self._store.save(STATE_KIND, files, {}))

    def tried(self, trial: Trial, model: LanguageModel) -> None:
        """Keep a rate seen through; its weights only where they are the best so far."""
        losses = [one.held_out_loss for one in self.trials if one.held_out_loss is not None]
        better = trial.held_out_loss is not None and all(trial.held_out_loss < loss for loss in losses)
        best = self._store.save(BEST_KIND, {"model": model.state_dict()}, {}) if better else self._note.best
        self._keep(trials=(*self.trials, trial), best=best, step=0, state=None)

    def load_best(self, model: LanguageModel) -> None:
        """Put the best weights into a model of the same shape. Raises: ValueError if every rate diverged."""
        if self._note.best is None:
            raise ValueError("the loss is not finite with any learning rate: lower supervised.lowest_rate")
        model.load_state_dict(self._store.load_checked(self._note.best).tensors["model"])

    def _read(self) -> Note | None:
        path = self._folder / NOTE
        try:
            return Note.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError as error:
            raise ConflictError(f"{path} is not of this version: remove {self._folder} to start anew.") from error

    def _keep(self, **changes: Any) -> None:
        """Write the note and wait until the disk has it; then let go of checkpoints it no longer names."""
        self._note = self._note.model_copy(update=changes)
        fresh = self._folder / (NOTE + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(self._note.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / NOTE)
        for digest in self._store.digests() - {self._note.best, self._note.state}:
            self._store.delete(digest)
