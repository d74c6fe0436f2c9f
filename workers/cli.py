"""Commands of `prefloop` that need torch, found by their entry point."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app import embedded, leftovers
from app.db import make_engine, make_session_factory, session_scope
from app.errors import UnavailableError
from app.leftovers import Leftover
from app.settings import Settings
from workers import collection, data_commands, evaluation, finetune_command, summaries, train_command
from workers.judges import load_judge
from workers.models import AUTO, ModelUnavailableError, ensure_base_model
from workers.shared_store import open_store
from workers.workshop import Workshop

app = typer.Typer()
app.command()(train_command.train)
app.command("finetune")(finetune_command.command)
app.command("import-prompts")(data_commands.import_prompts)
app.command("import-labels")(data_commands.import_labels)
app.command("export-labels")(data_commands.export_labels)
app.command("export-model")(data_commands.export_model)


@app.command()
def fetch_model(name: Annotated[str, typer.Argument(help="Hub id, folder, smollm2-135m or auto.")] = AUTO) -> None:
    """Fetch or build a base model where it is missing; prints the name to give a run."""
    home = Settings().home.expanduser()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("Looking for a base model", total=1.0)
        try:
            folder = ensure_base_model(
                name, home, lambda what, done: bar.update(task, description=what, completed=done)
            )
        except ModelUnavailableError as error:
            raise UnavailableError(str(error)) from error
        bar.update(task, description=f"Base model {folder.name}", completed=1.0)
    print(_name_of(name, folder))


@app.command()
def evaluate(
    run: Annotated[UUID | None, typer.Option(help="Id of the run; default: the newest.")] = None,
    policy: Annotated[int | None, typer.Option(help="Number of the policy; default: the one that serves.")] = None,
    judge: Annotated[str, typer.Option(help="vader, or module:function from (prompt, text) to a number.")] = "vader",
    samples: Annotated[int, typer.Option(min=2, help="Per policy, one per test prompt, then a second round.")] = 512,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 1,
) -> None:
    """Judge a policy's samples on test prompts beside the reference's; keeps and prints the result."""
    settings = embedded.with_urls(Settings())
    engine = make_engine(settings.need_database_url(), pool_size=2)
    try:
        evaluation.evaluate(
            make_session_factory(engine),
            Workshop(settings.home.expanduser(), threads=settings.trainer_threads, store=settings.store),
            evaluation.Options(
                run_id=run,
                policy_number=policy,
                judge_name=judge,
                judge=load_judge(judge),
                samples=samples,
                seed=seed,
            ),
            progress=print,
        )
    finally:
        engine.dispose()


@app.command()
def gc(
    remove: Annotated[bool, typer.Option("--remove", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """List files that nothing needs any more, or remove them: of checkpoints, and old uploads and exports."""
    settings = embedded.with_urls(Settings())
    engine = make_engine(settings.need_database_url(), pool_size=2)
    try:
        factory = make_session_factory(engine)
        store = open_store(settings.checkpoints_dir.expanduser(), settings.store)
        found = collection.survey(factory, store)
        done = collection.remove(factory, store, found) if remove else found
        with session_scope(factory) as session:
            tidy = leftovers.remove if remove else leftovers.survey
            files = tidy(session, settings.home, days=settings.file_days)
    finally:
        engine.dispose()
    lines = [*done.lines(), *(f"{one.bytes / 2**20:8.1f} MiB  {one}" for one in files)]
    print("\n".join([*lines, _sum(done, files, removed=remove)]))


def _sum(done: collection.Garbage, files: Sequence[Leftover], *, removed: bool) -> str:
    count = len(done.checkpoints) + len(done.orphans)
    if not count and not files:
        return "Every checkpoint file is still named by a run, a label or an evaluation: nothing to remove."
    size = done.bytes + sum(one.bytes for one in files)
    freed = f"{count} checkpoints, {len(files)} uploads and exports, {size / 2**20:.1f} MiB"
    return f"Removed: {freed}." if removed else f"In all {freed}. `prefloop gc --remove` removes them."


@app.command("summaries")
def summarise(
    run: Annotated[UUID, typer.Option(help="Id of the run.")],
    also: Annotated[list[UUID] | None, typer.Option(help="Another run whose policy takes part; repeatable.")] = None,
    supervised: Annotated[Path | None, typer.Option(help="Folder of a model fine-tuned on references.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Test prompts with a reference, at most.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 1,
) -> None:
    """Compare lead-3, baselines and policies by ROUGE and copying; keeps and prints the table."""
    settings = embedded.with_urls(Settings())
    engine = make_engine(settings.need_database_url(), pool_size=2)
    options = summaries.Options(run_id=run, also=tuple(also or ()), supervised=supervised, samples=samples, seed=seed)
    try:
        workshop = Workshop(settings.home.expanduser(), threads=settings.trainer_threads, store=settings.store)
        rows = summaries.table(make_session_factory(engine), workshop, options, said=print)
    finally:
        engine.dispose()
    for row in rows:
        figures = (f"{name} {value:.3g}" for name, value in row.items() if isinstance(value, float))
        print(f"{row['writer']}: {', '.join(figures)}")


def _name_of(asked: str, folder: Path) -> str:
    """What names this model on the same machine later: `auto` might choose another then."""
    if asked == AUTO:
        return folder.name
    return str(folder) if Path(asked).expanduser().is_dir() else asked
