"""`prefloop train`: a whole experiment with a known reward, without database or broker."""

import errno
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.errors import UnavailableError
from app.hparams import PRESETS, TaskHParams, parse_changes, planned
from app.rules import SCORES
from app.settings import Settings
from app.texts import bundled_stories, read_file
from workers.checkpoints import CheckpointError
from workers.judges import load_judge
from workers.models import AUTO, ModelUnavailableError, ensure_base_model
from workers.nets.tokenizer import load_tokenizer
from workers.offline.journal import NAME
from workers.offline.labels import read_file_of_labels
from workers.offline.progress import Bars
from workers.offline.start import Setup
from workers.offline.start import train as run_experiment
from workers.queries import build_prompts
from workers.quiet import warn_through
from workers.rlhf.guards import GuardError
from workers.team import Team
from workers.team_words import Equipment, TeamError

DEFAULT_PRESET, DEFAULT_JUDGE = "sentiment-small", "vader"
EXPLAINED = (GuardError, ModelUnavailableError, CheckpointError, TeamError)
"""Errors whose message says all."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def train(
    out: Annotated[Path, typer.Option(help="Folder of the experiment; an interrupted one goes on.")],
    model: Annotated[str | None, typer.Option(help="Base model: hub id, folder or auto; default: auto.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"Hyperparameters to start from: {', '.join(PRESETS)}; default: {DEFAULT_PRESET}."),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one, such as ppo.batch=64; may be repeated.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help=f"The known reward: {', '.join(SCORES)}, classifier:FILE or module:function; default: {DEFAULT_JUDGE}."
        ),
    ] = None,
    labels: Annotated[
        int | None, typer.Option(min=1, help="Collect so many labels first, train one reward model, then run PPO.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="PPO episodes; default: the preset's.")] = None,
    noise: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability of a label at random; default: 0.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="JSON lines or one prompt per line; default: stories.")] = None,
    cut: Annotated[
        bool, typer.Option("--cut", help="Cut prompts out of longer texts, by the task's query_start and query_end.")
    ] = False,
    labels_file: Annotated[
        Path | None,
        typer.Option(
            help="Labels to start from, in any of the forms of import-labels; or the folder of another experiment."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Made the token ids of --labels-file: gpt2 for the published ones.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random; default: 0.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Of each policy in the last comparison.")] = 512,
) -> None:
    """Run a whole experiment: sample, label by a known reward, train the reward model, run PPO, report.

    With --out alone an interrupted experiment goes on.
    """
    settings, bars = Settings(), Bars(Console(stderr=True))
    warn_through(bars.said)
    folder, models = out.expanduser().absolute(), settings.home.expanduser()
    asked = change or any(
        one is not None for one in (model, preset, judge, labels, episodes, noise, prompts, labels_file, seed)
    )
    with _ended_in_a_sentence(out, folder), bars.progress:
        setup = None
        if asked:
            load_judge(judge or DEFAULT_JUDGE)  # before a model is fetched
            hparams = planned(preset or DEFAULT_PRESET, _changes(change or [], labels, episodes, seed))
            texts = read_file(prompts) if prompts else bundled_stories()
            base = _resolved(model or AUTO, models, bars)
            setup = Setup(
                hparams=hparams,
                prompts=_cut(texts, hparams.task, ensure_base_model(base, models), bars) if cut else texts,
                labeler=judge or DEFAULT_JUDGE,
                noise=noise or 0.0,
                base_model=base,
                labels=read_file_of_labels(labels_file, base, tokenizer, models, hparams) if labels_file else (),
            )
        threads, team = settings.trainer_threads, None
        if settings.trainer_processes > 1:
            split = settings.trainer_sharding
            equipment = Equipment(
                home=folder, models=models, threads=threads, sharding=split, compiled=settings.trainer_compile
            )
            team = Team(settings.trainer_processes, equipment)
        pages = run_experiment(
            folder,
            setup,
            models=models,
            samples=samples,
            told=bars,
            threads=threads,
            team=team,
            compiled=settings.trainer_compile,
        )
    print(*pages, sep="\n")


@contextmanager
def _ended_in_a_sentence(out: Path, folder: Path) -> Iterator[None]:
    """Ctrl-C and what is known to go wrong end with how to go on."""
    kept = f"the same command, or `prefloop train --out {shlex.quote(str(out))}`, goes on from there"
    try:
        yield
    except KeyboardInterrupt:
        print(f"Stopped; {kept}." if _begun(folder) else "Stopped before anything was done.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except EXPLAINED as error:
        rest = f" What was done before is kept in {out}." if _begun(folder) else ""
        raise UnavailableError(f"{str(error).rstrip('.')}.{rest}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UnavailableError(f"The disk is full ({error}). Free some space: {kept}.") from error


def _begun(folder: Path) -> bool:
    return (folder / NAME).exists() and (folder / NAME).stat().st_size > 0


def _changes(words: list[str], labels: int | None, episodes: int | None, seed: int | None) -> dict[str, Any]:
    changes = parse_changes(words)
    if labels is not None:
        offline = {"kind": "offline", "initial_labels": labels, "total_labels": labels, "reward_trainings": 1}
        changes["schedule"] = changes.get("schedule", {}) | offline
    if episodes is not None:
        changes["ppo"] = changes.get("ppo", {}) | {"episodes": episodes}
    return changes if seed is None else changes | {"seed": seed}


def _cut(texts: list[str], task: TaskHParams, model: Path, bars: Bars) -> list[str]:
    """Prompts from longer texts, in the tokens of the run's own model."""
    built = build_prompts(texts, load_tokenizer(model), task)
    bars.said(f"{len(built.texts)} prompts cut from {len(texts)} texts, {built.skipped} gave none")
    return built.texts


def _resolved(model: str, home: Path, bars: Bars) -> str:
    """A name that means the same model at the next start; it is there."""
    local = Path(model).expanduser()
    name = str(local.absolute()) if model != AUTO and local.is_dir() else model
    found = ensure_base_model(name, home, bars.fetched)
    return found.name if model == AUTO else name
