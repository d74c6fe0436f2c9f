"""`prefloop runs`: look at runs and change their course from the command line."""

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app import contests, reports, runs, terminal
from app.errors import InvalidError
from app.hparams import differences, parse_changes
from app.models import Run
from app.web import pages
from app.web import report as web_report

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
        for path, values in differences(*map(runs.hparams_of, found)).items():
            print(f"{path}: {' | '.join(map(str, values))}")


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


@app.command()
def contest(
    run: Which,
    left: Annotated[
        str, typer.Argument(help="`policy 3`, `reference`, an id, each also `... best of 16`; texts; lead-3.")
    ],
    right: Annotated[str, typer.Argument(help="The other writer.")] = "reference",
    prompts: Annotated[int, typer.Option(help="Test prompts.")] = 64,
    per_side: Annotated[int, typer.Option(help="Samples of each side in one comparison, 1 or 2.")] = 1,
    labelers: Annotated[int, typer.Option(help="People for each comparison.")] = 3,
    own_session: Annotated[bool, typer.Option("--own-session", help="Keep it out of the labeling queue.")] = False,
) -> None:
    """Ask people blindly which of two writers is better; prints the id of the head-to-head."""
    asked = {"prompts": prompts, "per_side": per_side, "labelers": labelers, "seed": 0}
    with terminal.database() as session:
        found = _find(session, run)
        made = contests.create(
            session, found.id, left=left, right=right, own_session=own_session, **asked, actor_id=None
        )
        print(made.id)


@app.command()
def report(
    run: Which, file: Annotated[Path, typer.Argument(help="Where it goes; one HTML file that stands alone.")]
) -> None:
    """Write the report of a run: settings, labels, curves, head-to-heads, texts drawn at random, andon events."""
    with terminal.database() as session:
        html = web_report.written(session, _find(session, run).id, pages.load_templates())
    try:
        file.write_text(html)
    except OSError as error:
        raise InvalidError(f"Cannot write {file}: {error.strerror}.") from error
    print(file)


@app.command()
def contest_results(run: Which) -> None:
    """What people said in the head-to-heads of a run, newest first."""
    with terminal.database() as session:
        for one in contests.of_run(session, _find(session, run).id):
            found = reports.contest_result(session, one.id)
            rate = found.win_rate
            told = f"{100 * rate.mean:.0f} %" if rate else "no votes yet"
            interval = f" ({100 * rate.low:.0f} to {100 * rate.high:.0f})" if rate else ""
            done = f"{found.complete} of {found.comparisons} answered by {found.labelers}"
            print(f"{found.left} against {found.right}: {told}{interval}; {done}")


def _find(session: Session, wanted: str) -> Run:
    every = runs.newest_first(session)
    found = every[:1] if wanted == "newest" else [run for run in every if wanted in (run.name, str(run.id))]
    if len(found) != 1:
        names = ", ".join(run.name for run in every) or "there is none yet"
        said = "is no run" if not found else "is the name of several runs: give the id"
        raise InvalidError(f"{wanted!r} {said}. Runs: {names}.")
    return found[0]
