"""`prefloop finetune`: the supervised baseline, and the distilled best-of-N policy, as a folder to start runs from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import torch
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.errors import InvalidError, UnavailableError
from app.hparams import SupervisedHParams, TaskHParams, parse_changes, planned
from app.settings import Settings
from app.texts import bundled_stories, read_file
from workers.checkpoints import CheckpointError
from workers.distillation import BestOfTexts, TextScorer, prompts_to_learn
from workers.finetune import REPORT, Asked, finetune
from workers.judges import load_judge
from workers.models import AUTO, ModelUnavailableError, ensure_base_model, weights_digest
from workers.nets import precision
from workers.plans import PolicyFiles, RewardFiles
from workers.ppo_trainer import Scorer
from workers.references import Reference
from workers.supervised import Moment
from workers.supervised_data import read_rows
from workers.workshop import REWARD_KIND, Workshop

DEFAULT_PRESET = "sentiment-small"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NOBODY = UUID(int=0)


class _Bars:
    """Samples written, steps of the learning rate at hand."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            console=Console(stderr=True),
        )
        self._samples = self.progress.add_task("best of N", total=None, said="", visible=False)
        self._steps = self.progress.add_task("steps", total=None, said="")

    def written(self, done: int, prompts: int) -> None:
        self.progress.update(self._samples, visible=True, completed=done, total=prompts)

    def told(self, moment: Moment) -> None:
        self.progress.update(
            self._steps,
            description=f"learning rate {moment.trial + 1}",
            completed=moment.step,
            total=moment.steps,
            said=f"loss {moment.loss:.3f} nats per token",
        )


def command(
    out: Annotated[Path, typer.Option(help="New folder of the result; an interrupted fit goes on.")],
    model: Annotated[str, typer.Option(help="Base model: hub id, folder or auto.")] = AUTO,
    data: Annotated[
        Path | None, typer.Option(help='JSON lines: {"text"}, or {"prompt", "reference"} to learn references.')
    ] = None,
    best_of: Annotated[
        int | None, typer.Option(min=1, help="Learn the best of so many samples of the model itself.")
    ] = None,
    judge: Annotated[
        str, typer.Option(help="Picks the best: vader, module:function, ..., or a reward model's digest.")
    ] = "vader",
    prompts: Annotated[
        Path | None, typer.Option(help="To sample from: JSON lines or one prompt per line; default: stories.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Whose task cuts and formats the prompts.")] = DEFAULT_PRESET,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one, such as supervised.epochs=2; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
) -> None:
    """Fine-tune a model by supervision; the folder serves as --model of a run.

    Give either --data or --best-of.
    """
    if (data is None) == (best_of is None):
        raise InvalidError("Give either --data with rows to learn or --best-of with a number of samples.")
    if data is not None and prompts is not None:
        raise InvalidError("--prompts are for --best-of: rows of --data bring their own.")
    settings, bars = Settings(), _Bars()
    home, folder = settings.home.expanduser(), out.expanduser().absolute()
    task, hparams = _hparams(preset, change or [], distilled=best_of is not None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = precision.configure(device, settings.trainer_threads).bf16
    try:
        base = ensure_base_model(_name(model), home)
        with bars.progress:
            rows = (
                read_rows(data.expanduser())
                if data is not None
                else _best_of(base, judge, prompts, n=best_of or 1, task=task, seed=seed, home=home, bf16=bf16)
            )
            asked = Asked(base_model=base, rows=rows, task=task, hparams=hparams, seed=seed)
            report = finetune(folder, asked, device=device, bf16=bf16, told=bars.told, written=bars.written)
    except ValueError as error:
        raise InvalidError(str(error)) from error
    except (ModelUnavailableError, CheckpointError) as error:
        raise UnavailableError(str(error)) from error
    print(*_said(folder, report), sep="\n")


def _hparams(preset: str, words: list[str], *, distilled: bool) -> tuple[TaskHParams, SupervisedHParams]:
    changes = parse_changes(words)
    supervised: Mapping[str, Any] = changes.pop("supervised", {})
    task = planned(preset, changes).task
    # What a run's sample says after its terminator is thrown away, and must not be an end that no terminator is.
    given = {"end_token": task.eos_ends, **supervised} if distilled else supervised
    try:
        return task, SupervisedHParams.model_validate(given)
    except ValidationError as error:
        faults = (f"{'.'.join(('supervised', *map(str, one['loc'])))}: {one['msg']}" for one in error.errors())
        raise InvalidError("; ".join(faults)) from error


def _best_of(
    base: Path, judge: str, prompts: Path | None, *, n: int, task: TaskHParams, seed: int, home: Path, bf16: bool
) -> BestOfTexts:
    texts = read_file(prompts.expanduser()) if prompts else bundled_stories()
    reference, scorer = _judged(base, judge, task, home)
    return BestOfTexts(
        reference=reference,
        scorer=scorer,
        judge=judge,
        n=n,
        prompts=prompts_to_learn(texts),
        task=task,
        seed=seed,
        bf16=bf16,
    )


def _judged(base: Path, judge: str, task: TaskHParams, home: Path) -> tuple[Reference, Scorer]:
    """The model that writes and what picks: a score by its name, or a reward model of this machine by its digest."""
    if not _DIGEST.fullmatch(judge):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        reference = Reference.load(base, device=device)
        return reference, TextScorer(score=load_judge(judge), decoder=reference.tokenizer)
    workshop = Workshop(home)
    manifest = workshop.store.manifest(judge)
    if manifest["kind"] != REWARD_KIND:
        raise InvalidError(f"Checkpoint {judge} is a {manifest['kind']}: give the digest of a reward model.")
    if manifest["meta"].get("query") == "raw" and (task.prefix or task.suffix):
        raise InvalidError(
            "This reward model reads prompts without the task's prefix and suffix: choose another judge."
        )
    files = PolicyFiles(checkpoint_id=_NOBODY, base_model=str(base), reference_digest=weights_digest(base), digest=None)
    reward = workshop.reward_model(files, RewardFiles(checkpoint_id=_NOBODY, digest=judge))
    return workshop.reference(files), reward


def _name(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.absolute()) if path.is_dir() else model


def _said(folder: Path, report: Mapping[str, Any]) -> list[str]:
    best, base = report["best"], report["base_held_out_loss"]
    lines = [
        f"{folder}: held-out loss {best['held_out_loss']:.3f} nats per token at learning rate "
        f"{best['learning_rate']:.3g}; the base model's is {base:.3f}. All rates: {folder / REPORT}"
    ]
    if report["kl_bound"] is not None:
        lines.append(f"The policy it learned from is at most {report['kl_bound']:.2f} nats per response from the base.")
    return lines
