"""`prefloop train`: a whole experiment with a known reward, without database or broker."""

import logging
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from app.errors import InvalidError, UnavailableError
from app.hparams import parse_changes, planned
from app.settings import Settings
from app.texts import bundled_stories, read_file
from workers.models import AUTO, ModelUnavailableError, ensure_base_model
from workers.offline.progress import Bars
from workers.offline.start import Setup
from workers.offline.start import train as run_experiment
from workers.rlhf.guards import GuardError

DEFAULT_PRESET, DEFAULT_JUDGE = "sentiment-small", "vader"


def train(
    out: Annotated[Path, typer.Option(help="Folder of the experiment; an interrupted one goes on.")],
    model: Annotated[str | None, typer.Option(help="Base model: hub id, folder or auto.")] = None,
    preset: Annotated[str | None, typer.Option(help="Hyperparameters to start from.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one, such as ppo.batch=64; may be repeated.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="The known reward: vader, descriptive, longest, classifier:FILE or module:function."),
    ] = None,
    labels: Annotated[
        int | None, typer.Option(min=1, help="Collect so many labels first, train one reward model, then run PPO.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="PPO episodes.")] = None,
    noise: Annotated[float | None, typer.Option(min=0, max=1, help="Probability of a label at random.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="JSON lines or one prompt per line; default: stories.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Of each policy in the last comparison.")] = 512,
) -> None:
    """Run a whole experiment: sample, label by a known reward, train the reward model, run PPO, report.

    With --out alone an interrupted experiment goes on.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # the bars tell the rest
    settings, bars = Settings(), Bars(Console(stderr=True))
    models = settings.home.expanduser()
    setup = None
    if change or any(one is not None for one in (model, preset, judge, labels, episodes, noise, prompts, seed)):
        setup = Setup(
            hparams=planned(preset or DEFAULT_PRESET, _changes(change or [], labels, episodes, seed)),
            base_model=_resolved(model or AUTO, models),
            labeler=judge or DEFAULT_JUDGE,
            noise=noise or 0.0,
            prompts=read_file(prompts) if prompts else bundled_stories(),
        )
    try:
        with bars.progress:
            pages = run_experiment(
                out.expanduser().absolute(),
                setup,
                models=models,
                samples=samples,
                told=bars,
                said=bars.say,
                threads=settings.trainer_threads,
            )
    except (GuardError, ModelUnavailableError) as error:
        raise UnavailableError(f"{error}. What was done is kept in {out}.") from error
    print(*pages, sep="\n")


def _changes(words: list[str], labels: int | None, episodes: int | None, seed: int | None) -> dict[str, Any]:
    changes = parse_changes(words)
    if labels is not None:
        offline = {"initial_labels": labels, "total_labels": labels, "reward_trainings": 1}
        changes["schedule"] = changes.get("schedule", {}) | offline
    if episodes is not None:
        changes["ppo"] = changes.get("ppo", {}) | {"episodes": episodes}
    return changes if seed is None else changes | {"seed": seed}


def _resolved(model: str, home: Path) -> str:
    """A name that means the same model at the next start."""
    if model != AUTO:
        return str(Path(model).expanduser().absolute()) if Path(model).expanduser().is_dir() else model
    try:
        return ensure_base_model(AUTO, home, lambda *_: None).name
    except ModelUnavailableError as error:
        raise InvalidError(str(error)) from error
