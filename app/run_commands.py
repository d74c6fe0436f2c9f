"""`prefloop runs`: look at runs and change their course from the command line."""

from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app import reports, runs, terminal
from app.errors import InvalidError
from app.hparams import differing, parse_changes
from app.models import Run

app = typer.Typer(help="List, clone, compare and steer runs.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="Name or id of the run; `newest` is the newest.")]
Why = Annotated[str, typer.Option("--note", help="Why; kept in the audit log.")]


@app.command("list")
def list_runs() -> None:
    """All runs, newest first."""
    with terminal.database() as session:
        for run in runs.newest_first(session):
            print(f"{run.id}  {run.phase:<8}  {run.episodes:>8} episodes  {run.labels_usable:>6} labels  {run.name}")


@app.command()
def clone(
    run: Which,
    name: Annotated[str, typer.Argument(help="Of the new run.")],
    model: Annotated[str | None, typer.Option(help="Base model; default: the same.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as ppo.batch=64; may be repeated.")
    ] = None,
) -> None:
    """Start a run with the settings of another; prints its id."""
    with terminal.database() as session:
        origin, changes = _find(session, run), parse_changes(change or [])
        made = runs.clone(session, origin.id, name=name, base_model=model, changes=changes, actor_id=None)
        print(made.id)


@app.command()
def compare(chosen: Annotated[list[str], typer.Argument(help="Names or ids of runs.")]) -> None:
    """How far runs came, and the settings in which they differ."""
    with terminal.database() as session:
        found = [_find(session, one) for one in chosen]
        for run in found:
            summary = reports.run_summary(session, run.id)
            done = f"{run.episodes} of {summary.episodes_total} episodes"
            given = f"{run.labels_usable} of {summary.labels_total} labels"
            print(f"{run.name}: {run.phase}, {done}, {given}, {run.promotions} promotions")
        hparams = [runs.hparams_of(run) for run in found]
        for path in differing(*hparams):
            print(f"{path}: {' | '.join(str(_at(one.model_dump(mode='json'), path)) for one in hparams)}")


@app.command()
def pause(run: Which, note: Why = "") -> None:
    """Start nothing new; people may go on labeling."""
    with terminal.database() as session:
        runs.pause(session, _find(session, run).id, None, note)


@app.command()
def resume(run: Which, note: Why = "") -> None:
    """Go on, and try failed jobs again."""
    with terminal.database() as session:
        runs.resume(session, _find(session, run).id, None, note)


@app.command()
def stop(run: Which, note: Why = "") -> None:
    """End a run for good."""
    with terminal.database() as session:
        runs.stop(session, _find(session, run).id, None, note)


@app.command()
def finish(run: Which, note: Why = "") -> None:
    """End a run as one that has done enough."""
    with terminal.database() as session:
        runs.finish(session, _find(session, run).id, None, note)


@app.command()
def roll_back(
    run: Which,
    policy: Annotated[str, typer.Argument(help="Number of a policy, or `reference`.")],
    note: Why = "",
) -> None:
    """Let PPO go on from an earlier policy."""
    with terminal.database() as session:
        found = _find(session, run)
        runs.roll_back(session, found.id, reports.policy_named(session, found, policy), None, note)


def _find(session: Session, wanted: str) -> Run:
    every = runs.newest_first(session)
    found = every[:1] if wanted == "newest" else [run for run in every if wanted in (run.name, str(run.id))]
    if len(found) != 1:
        names = ", ".join(run.name for run in every) or "there is none yet"
        said = "is no run" if not found else "is the name of several runs: give the id"
        raise InvalidError(f"{wanted!r} {said}. Runs: {names}.")
    return found[0]


def _at(values: object, path: str) -> object:
    for name in path.split("."):
        assert isinstance(values, dict)
        values = values[name]
    return values
