"""Commands that bring data in and out: the same jobs as the site's, done at once and in this process."""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app import embedded, runs, transfers
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.errors import DomainError, InvalidError
from app.hparams import parse_changes, planned
from app.models import CheckpointKind, Job
from app.orders import Cut, ExportOrder, LabelFormat, LabelOrder, LabelScope, Like, ModelOrder, PromptOrder, RowFormat
from app.settings import Settings
from workers import fencing
from workers.heartbeat import heartbeat
from workers.label_source import remapper
from workers.models import ensure_base_model
from workers.nets.tokenizer import load_tokenizer, token_ids
from workers.queries import cutter
from workers.transfers import Errand, labels_in, labels_out, models_out, prompts_in
from workers.workshop import Workshop


def import_prompts(
    source: Annotated[str, typer.Argument(help="File, folder, hub id, or books, tldr or cnndm.")],
    prompt_set: Annotated[str, typer.Option("--set", help="Name of the prompt set; made if there is none.")],
    form: Annotated[RowFormat, typer.Option("--format", help="Default: by the name.")] = RowFormat.AUTO,
    like: Annotated[Like | None, typer.Option(help="Columns and cleaning of a known data set, for a copy.")] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    split: Annotated[str, typer.Option(help="Of a data set.")] = "train",
    column: Annotated[str | None, typer.Option(help="Where the text is; default: text.")] = None,
    reference: Annotated[str | None, typer.Option(help="Column of a human answer, such as a summary.")] = None,
    clean: Annotated[bool, typer.Option(help="Mend encodings and blank lines.")] = True,
    cut: Annotated[bool, typer.Option("--cut", help="Cut prompts out of longer texts, by the preset's task.")] = False,
    preset: Annotated[str | None, typer.Option(help="Whose task cuts.")] = None,
    model: Annotated[str | None, typer.Option(help="Whose tokens count: hub id or folder.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--task", help="Change the task, such as query_tokens=200; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows to read at most.")] = None,
    keep_good: Annotated[bool, typer.Option("--keep-good", help="Leave bad rows out instead of stopping.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read and count.")] = False,
) -> None:
    """Add prompts to a set."""
    settings = embedded.with_urls(Settings())
    order = PromptOrder(
        prompt_set=prompt_set,
        source=_absolute(source),
        format=form,
        like=like or (Like(source) if source in set(Like) else None),
        subset=subset,
        split=split,
        column=column,
        reference_column=reference,
        clean=clean,
        cut=_cut(preset, model, change or []) if cut else None,
        limit=limit,
        keep_good=keep_good,
        dry_run=dry_run,
    )
    with _factory(settings) as factory:
        with session_scope(factory) as session:
            job = transfers.import_prompts(session, order, account_id=None)
        task = None if order.cut is None else cutter(_tokenizer(order.cut, settings), order.cut.task)
        done = carry(factory, settings, job.id, lambda errand: prompts_in.import_prompts(errand, task))
    print(*_said(order, done), sep="\n")


def import_labels(
    source: Annotated[Path, typer.Argument(help="JSON, JSON lines, CSV or Parquet; its keys say which form it has.")],
    run: Annotated[UUID, typer.Option(help="Id of the run that learns from them.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Made the token ids of the file: gpt2 for the published; default: the run's.")
    ] = None,
    prompt_set: Annotated[
        str | None, typer.Option("--set", help="For their prompts; default: a set of their own.")
    ] = None,
    keep_good: Annotated[bool, typer.Option("--keep-good", help="Leave bad records out instead of stopping.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read and count.")] = False,
) -> None:
    """Add labels of a file to a run."""
    settings = embedded.with_urls(Settings())
    order = LabelOrder(
        source=_absolute(str(source)), tokenizer=tokenizer, prompt_set=prompt_set, keep_good=keep_good, dry_run=dry_run
    )
    with _factory(settings) as factory:
        with session_scope(factory) as session:
            base_model = runs.get(session, run).base_model
        texts = remapper(base_model, tokenizer, settings.home.expanduser())
        with session_scope(factory) as session:
            job = transfers.import_labels(session, run, order, account_id=None)
        done = carry(factory, settings, job.id, lambda errand: labels_in.import_labels(errand, texts))
    tally = labels_in.Tally.model_validate({name: value for name, value in done.items() if name != "dry_run"})
    print(*tally.faults, str(tally), sep="\n")


def export_labels(
    out: Annotated[Path, typer.Argument(help="Folder for the files and their manifest.")],
    run: Annotated[UUID, typer.Option(help="Id of the run.")],
    form: Annotated[LabelFormat, typer.Option("--format", help="What a record is.")] = LabelFormat.JSONL,
    scope: Annotated[str, typer.Option(help='Which labels, as JSON, such as {"splits": ["train"]}.')] = "{}",
) -> None:
    """Write a run's labels into files."""
    settings = embedded.with_urls(Settings())
    try:
        order = ExportOrder(format=form, scope=LabelScope.model_validate_json(scope))
    except ValidationError as error:
        raise InvalidError("; ".join(f"--scope: {one['loc']}: {one['msg']}" for one in error.errors())) from error
    with _factory(settings) as factory:
        encode = _encoder(factory, run, settings) if form == LabelFormat.IDS else None
        with session_scope(factory) as session:
            job = transfers.export_labels(session, run, order, account_id=None)
        done = carry(factory, settings, job.id, lambda errand: labels_out.export_labels(errand, encode))
    out.mkdir(parents=True, exist_ok=True)
    for file in done["files"]:
        shutil.move(transfers.folder_of(settings.home, job.id) / file["name"], out / file["name"])
    print(f"{done['records']} records in {out / done['files'][0]['name']}")


def export_model(
    out: Annotated[Path, typer.Argument(help="New folder for the model.")],
    run: Annotated[UUID, typer.Option(help="Id of the run.")],
    kind: Annotated[CheckpointKind, typer.Option(help="policy, reward_model or reference.")] = CheckpointKind.POLICY,
    number: Annotated[int | None, typer.Option(help="Of the checkpoint; default: the newest.")] = None,
    to: Annotated[str | None, typer.Option(help="Push it: hf://user/name, s3://..., any URL of fsspec.")] = None,
) -> None:
    """Write a policy or reward model as a Hugging Face folder with a card."""
    if out.exists():
        raise InvalidError(f"{out} is there already: choose a new folder.")
    settings = embedded.with_urls(Settings())
    with _factory(settings) as factory:
        with session_scope(factory) as session:
            order = ModelOrder(checkpoint=transfers.newest_checkpoint(session, run, kind, number), to=to)
            job = transfers.export_model(session, order, account_id=None)
        workshop = Workshop(settings.home.expanduser(), threads=settings.trainer_threads, store=settings.store)
        done = carry(factory, settings, job.id, lambda errand: models_out.export_model(errand, workshop))
    shutil.copytree(done["folder"], out)
    shutil.rmtree(done["folder"])
    print(f"{out}" + (f", and {done['pushed']}" if done["pushed"] else ""))


def _encoder(factory: SessionFactory, run: UUID, settings: Settings) -> Callable[[str], list[int]]:
    with session_scope(factory) as session:
        base_model = runs.get(session, run).base_model
    tokenizer = load_tokenizer(ensure_base_model(base_model, settings.home.expanduser()))
    return lambda text: token_ids(tokenizer, text)


def carry(factory: SessionFactory, settings: Settings, job_id: UUID, do: Callable[[Errand], None]) -> dict[str, Any]:
    """Do a job in this process and return its result; a worker goes on with it should this process be killed.

    Raises: InvalidError if another process has it.
    """
    worker = f"{socket.gethostname()}:{getpid()}"
    with session_scope(factory) as session:
        mine = fencing.claim(session, job_id, worker=worker, stale_seconds=settings.stale_seconds)
    if mine is None:
        raise InvalidError(f"A worker has taken job {job_id}: look at it with GET /api/v1/jobs/{job_id}.")
    with _bar() as told, heartbeat(factory, mine, seconds=settings.heartbeat_seconds) as lost:
        home = settings.home.expanduser()
        errand = Errand(claim=mine, factory=factory, home=home, should_stop=lost.is_set, told=told)
        try:
            do(errand)
        except DomainError as error:
            with session_scope(factory) as session:
                fencing.fail(session, mine, str(error), final=True)
            raise
    with session_scope(factory) as session:
        return session.get_one(Job, job_id).result or {}


@contextmanager
def _bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A line that says how far the job is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Working", total=None)

        def told(far: dict[str, Any]) -> None:
            counted = (f"{name} {value:,}" for name, value in far.items() if isinstance(value, int) and value)
            progress.update(task, description=", ".join(counted))

        yield told


@contextmanager
def _factory(settings: Settings) -> Iterator[SessionFactory]:
    engine = make_engine(settings.need_database_url(), pool_size=2)
    try:
        yield make_session_factory(engine)
    finally:
        engine.dispose()


def _absolute(source: str) -> str:
    """A path that another process finds too, should it have to go on."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def _cut(preset: str | None, model: str | None, changes: list[str]) -> Cut:
    if preset is None or model is None:
        raise InvalidError("To cut prompts, name the --preset whose task cuts and the --model whose tokens count.")
    changed = parse_changes([f"task.{word}" for word in changes])
    return Cut(model=_absolute(model), task=planned(preset, changed).task)


def _tokenizer(cut: Cut, settings: Settings) -> Any:
    return load_tokenizer(ensure_base_model(cut.model, settings.home.expanduser()))


def _said(order: PromptOrder, done: dict[str, Any]) -> Iterator[str]:
    tally = prompts_in.Tally.model_validate({name: value for name, value in done.items() if name != "dry_run"})
    yield from tally.faults
    verb = "would be added" if order.dry_run else "added"
    left = f", {tally.uncut} gave none" if order.cut else ""
    bad = f", {tally.bad} bad rows left out" if tally.bad else ""
    splits = ", ".join(f"{count} {split}" for split, count in sorted(tally.splits.items())) or "none"
    yield f"{tally.added} prompts {verb} to {order.prompt_set} ({splits}), {tally.known} known already{left}{bad}."
