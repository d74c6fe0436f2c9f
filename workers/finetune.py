"""A supervised fit from its rows to a Hugging Face folder that serves as base model of a run.

FOLDER/.finetune/   the half-done work: where the fit stands, its checkpoints, samples; gone when all is done
FOLDER/*            model and tokenizer as transformers saves them, and `finetune.json`: what they were made of
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.errors import ConflictError, InvalidError
from app.hparams import SupervisedHParams, TaskHParams
from workers.distillation import BestOfTexts
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.tokenizer import load_tokenizer
from workers.supervised import SAVE_SECONDS, Supervision, Told
from workers.supervised_data import Examples, Row, encode_rows
from workers.supervised_state import Fitting

WORK, LOCK, REPORT = ".finetune", "lock", "finetune.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be fitted to what."""

    base_model: Path
    """Folder of the model to start from."""
    rows: list[Row] | BestOfTexts
    """Rows of a file, or those that a best-of-N policy is to write."""
    task: TaskHParams
    """How prompts are cut and what stands around them."""
    hparams: SupervisedHParams
    seed: int

    @property
    def setup(self) -> dict[str, Any]:
        """As JSON, all that the result depends on."""
        return {
            "base_model": weights_digest(self.base_model),
            "rows": self.rows.setup if isinstance(self.rows, BestOfTexts) else _digest([asdict(r) for r in self.rows]),
            "task": self.task.model_dump(mode="json"),
            "supervised": self.hparams.model_dump(mode="json"),
            "seed": self.seed,
        }


def finetune(
    folder: Path,
    asked: Asked,
    *,
    device: torch.device,
    bf16: bool,
    told: Told,
    written: Callable[[int, int], None],
    seconds: float = SAVE_SECONDS,
) -> dict[str, Any]:
    """Fit, or go on with the half-done fit of the same kind in `folder`; the report that lies beside the model.

    Args:
        told: hears of every optimizer step.
        written: hears how many samples are written, of how many, where a best-of-N policy writes them.
        seconds: between two savings within one learning rate.
    Raises: ConflictError if the folder holds something else; InvalidError for rows that cannot be learned from;
        ValueError for a model that is not supported or a loss that is not finite.
    """
    with _work_folder(folder) as work:
        fitting = Fitting(work, asked.setup)
        rows = asked.rows.write(work, written) if isinstance(asked.rows, BestOfTexts) else asked.rows

        def load() -> LanguageModel:
            return LanguageModel.load(asked.base_model, device=device)

        examples = _examples(rows, asked, context=load().context)
        fit = Supervision(examples=examples, load=load, hparams=asked.hparams, seed=asked.seed, bf16=bf16)
        model = fit.run(fitting, told=told, seconds=seconds)
        report = _report(asked, examples, fitting)
        _publish(folder, model, asked.base_model, report)
    shutil.rmtree(folder / WORK)
    return report


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """The folder of half-done work, held by this process. Raises: ConflictError where it must not work."""
    work = folder / WORK
    if folder.exists() and not folder.is_dir():
        raise ConflictError(f"{folder} is a file: choose a folder.")
    if folder.exists() and any(folder.iterdir()) and not work.is_dir():
        raise ConflictError(f"{folder} is not empty and holds no half-done fit: choose a new folder.")
    work.mkdir(parents=True, exist_ok=True)
    with (work / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(f"Another process is at work in {folder}: wait for it or choose another.") from error
        yield work


def _examples(rows: list[Row], asked: Asked, *, context: int | None) -> Examples:
    if not rows:
        raise InvalidError("There are no rows to learn from.")
    tokenizer = load_tokenizer(asked.base_model)
    return encode_rows(rows, tokenizer, task=asked.task, hparams=asked.hparams, context=context)


def _report(asked: Asked, examples: Examples, fitting: Fitting) -> dict[str, Any]:
    return {
        "setup": asked.setup,
        "rows": {"train": len(examples.train), "valid": len(examples.valid)},
        "base_held_out_loss": fitting.base_loss,
        "rates": [trial.model_dump() for trial in fitting.trials],
        "best": fitting.best.model_dump(),
        "kl_bound": asked.rows.kl_bound if isinstance(asked.rows, BestOfTexts) else None,
    }


def _publish(folder: Path, model: LanguageModel, base: Path, report: dict[str, Any]) -> None:
    """Write all beside the target first: a kill leaves a folder that this can be done in again."""
    result = folder / WORK / "result"
    model.model.save_pretrained(result)
    load_tokenizer(base).save_pretrained(result)
    (result / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for path in sorted(result.iterdir()):
        path.replace(folder / path.name)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
