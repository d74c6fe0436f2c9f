"""The `prefloop` command: thin, one call per command."""

import importlib.metadata
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import psycopg
import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError

from app import accounts, backup_commands, doctor, embedded, migrating, run_commands, runs, simulate, terminal, welcome
from app.db import make_engine
from app.errors import DomainError, InvalidError, UnavailableError
from app.hparams import parse_changes, planned
from app.models import Role
from app.settings import Settings
from app.up import UpOptions, up

PLUGINS = "prefloop.commands"
"""Entry point group of further commands, each a Typer application."""

cli = typer.Typer(
    help="Fine-tune language models from human preferences, with the people in the loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

cli.add_typer(run_commands.app, name="runs")
cli.command()(backup_commands.backup)
cli.command()(backup_commands.backups)
cli.command()(backup_commands.restore)


@cli.command("up")
def start(
    model: Annotated[str | None, typer.Option(help="Base model: hub id or folder.")] = None,
    preset: Annotated[str, typer.Option(help="Hyperparameters of the first run.")] = welcome.DEFAULT_PRESET,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Written, as JSON, once a comparison can be labeled; default: in the home folder."),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of all data (PREFLOOP_HOME).")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the site (PREFLOOP_PORT).")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show all that the parts log.")] = False,
) -> None:
    """Start everything on this machine and stay until Ctrl-C."""
    settings = _settings(home=home, port=port)
    ready = (ready_file or _ready_file(settings)).absolute()
    options = UpOptions(settings=settings, model=model, preset=preset, ready_file=ready, verbose=verbose)
    raise typer.Exit(up(options))


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = embedded.with_urls(_settings())
    engine = make_engine(settings.need_owner_url(), pool_size=1)
    try:
        migrating.upgrade(engine)
        migrating.let_in(engine, settings.need_database_url())
    finally:
        engine.dispose()
    print("The database has the newest schema.")


@cli.command("doctor")
def examine() -> None:
    """Check every part of this site and say how to mend what is wrong; exit code 1 if anything is."""
    findings = []
    for one in doctor.examine(embedded.with_urls(_settings())):
        findings.append(one)
        print(f"{one.health:<4} {one.part:<12} {one.said}" + (f"\n     {one.mend}" if one.mend else ""))
    if any(one.health == doctor.Health.BAD for one in findings):
        raise typer.Exit(1)


@cli.command()
def create_run(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    model: Annotated[str, typer.Option(help="Base model: hub id or folder on the training machine.")],
    preset: Annotated[str, typer.Option(help="Hyperparameters to start from.")] = welcome.DEFAULT_PRESET,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one, such as ppo.batch=64; may be repeated.")
    ] = None,
) -> None:
    """Start a run; prints its id."""
    hparams = planned(preset, parse_changes(change or []))
    with terminal.database(_settings()) as session:
        made = runs.create(session, name=name, base_model=model, hparams=hparams, actor_id=None)
    print(made.id)


@cli.command()
def create_labeler(
    name: Annotated[str, typer.Argument(help="The person's name.")],
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.LABELER,
) -> None:
    """Make an account; prints a one-time sign-in link."""
    settings = _settings()
    with terminal.database(settings) as session:
        made = accounts.create_account(session, name, role)
        link = welcome.fresh_link(session, settings, made.id)
    print(link)


@cli.command("simulate")
def simulate_labelers(
    rule: Annotated[str, typer.Option(help="vader, longest or module:function.")] = "vader",
    ready_file: Annotated[Path | None, typer.Option(help="Of `prefloop up`; default: in the home folder.")] = None,
    url: Annotated[str | None, typer.Option(help="Address of the site; default: of this machine.")] = None,
    token: Annotated[str | None, typer.Option(help="A researcher's API token.")] = None,
    run: Annotated[str | None, typer.Option(help="Id of the run; default: the newest that is running.")] = None,
    labelers: Annotated[int, typer.Option(help="How many people.")] = 1,
    labels: Annotated[int | None, typer.Option(help="Stop after so many in all.")] = None,
    seconds_per_label: Annotated[float, typer.Option(help="Mean time a person takes.")] = 5.0,
    noise: Annotated[float, typer.Option(help="Probability of a random choice.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed thinks and errs the same way.")] = 0,
) -> None:
    """Label over HTTP like people do, choosing by a rule."""
    settings = _settings()
    ready = {} if token else read_ready_file(ready_file or _ready_file(settings))
    known_token = token or ready["api_token"]
    options = simulate.Options(
        url=(url or ready.get("url") or settings.site_url).rstrip("/"),
        token=known_token,
        rule=simulate.load_rule(rule),
        run_id=run or ready.get("run_id"),
        labelers=labelers,
        labels=labels,
        seconds_per_label=seconds_per_label,
        noise=noise,
        seed=seed,
    )
    with _stop_event() as stop:
        print(simulate.simulate(options, stop))


def main() -> None:
    """Entry point: what is known to go wrong ends in one sentence and exit code 1."""
    try:
        _add_plugins(sys.argv[1:])
        cli()
    except KeyboardInterrupt:  # while the commands that train are imported; later ones are handled where they arrive
        sys.exit(130)
    except DomainError as error:
        sys.exit(error.detail)
    except ValidationError as error:
        sys.exit("; ".join(f"PREFLOOP_{fault['loc'][0]}: {fault['msg']}".upper() for fault in error.errors()))
    except OperationalError as error:
        sys.exit(f"Cannot use the database: {error.orig}\nIs `prefloop up` running? Or set PREFLOOP_DATABASE_URL.")
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.UndefinedTable):
            raise
        sys.exit("The database has no tables of Prefloop yet: run `prefloop migrate`.")


def read_ready_file(path: Path) -> dict[str, str]:
    """What `prefloop up --ready-file` wrote. Raises: InvalidError if it is not there or not that."""
    try:
        content: dict[str, str] = json.loads(path.read_text())
    except OSError as error:
        raise InvalidError(
            f"Cannot read {path}: {error.strerror}. `prefloop up` writes it when people can label; or give --token."
        ) from error
    except ValueError as error:
        raise InvalidError(f"{path} is not a ready file of `prefloop up`.") from error
    return content


def _ready_file(settings: Settings) -> Path:
    """Where `up` writes it and `simulate` looks for it unless told otherwise."""
    return settings.home.expanduser() / "ready.json"


def _add_plugins(words: list[str]) -> None:
    """Add the commands of other packages, unless one of ours is wanted: theirs may take seconds to import."""
    wanted = next((word for word in words if not word.startswith("-")), None)
    if wanted in _own_commands():
        return
    for plugin in importlib.metadata.entry_points(group=PLUGINS):
        try:
            cli.add_typer(plugin.load())
        except ImportError as error:
            if wanted is not None:
                raise UnavailableError(
                    f"`prefloop {wanted}` is no command of this installation, which lacks {error.name}: "
                    "for the commands that train, pip install 'prefloop[train]'."
                ) from error


def _own_commands() -> set[str]:
    commands = ((command.name, command.callback) for command in cli.registered_commands)
    groups = {group.name for group in cli.registered_groups if group.name}
    return groups | {name or (callback.__name__.replace("_", "-") if callback else "") for name, callback in commands}


def _settings(**given: Any) -> Settings:
    """Settings of the environment, changed by options that were given."""
    return Settings(**{name: value for name, value in given.items() if value is not None})


@contextmanager
def _stop_event() -> Iterator[Event]:
    """Set by Ctrl-C; a second one ends the process."""
    stop = Event()

    def on_signal(number: int, _: object) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        stop.set()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
