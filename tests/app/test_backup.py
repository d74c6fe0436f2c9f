"""A backup is one moment of a site that runs, and comes back whole or not at all."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event
from uuid import UUID

import pytest
import torch
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app import audit, backup, labeling, migrating, retention
from app.backup import Manifest, Place, Site
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.embedded import SUPERUSER, Postgres
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import Audit, CheckpointKind, Label, Run, Tally, Verdict
from tests.app.backups import empty_site, revision_of, site, sums_of
from tests.factories import make_account, make_checkpoint, make_comparison, make_run
from workers.checkpoints import CheckpointStore
from workers.data.policy import outdated_states

STATE = CheckpointKind.TRAINING_STATE


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "home" / "checkpoints", reserve_bytes=0)


@pytest.fixture
def here(engine: Engine, tmp_path: Path) -> Site:
    return site(engine, tmp_path / "home")


@pytest.fixture
def there(postgres: Postgres, tmp_path: Path) -> Iterator[Site]:
    with empty_site(postgres, tmp_path / "elsewhere") as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "backups"))


def saved(store: CheckpointStore, value: float) -> str:
    return store.save("policy", {"model": {"weight": torch.full((256,), value)}}, {}, {"config.json": b"{}"})


@pytest.fixture
def run_id(session_factory: SessionFactory, store: CheckpointStore, here: Site) -> UUID:
    """A run with a policy that serves, a comparison that was labeled, an upload and a base model."""
    with session_scope(session_factory) as session:
        run = make_run(session, name='a "run"\twith\\N, ünïcode\n', base_model="org/tiny")
        run.serving_id = make_checkpoint(session, run, digest=saved(store, 1.0)).id
        ada = make_account(session)
        make_comparison(session, run)
        (lease,) = labeling.lease(session, ada.id, run.id, count=1, lease_seconds=60)
        labeling.record(session, ada.id, lease.comparison_id, verdict=Verdict.TIE, choice=None, key="k")
        audit.record(session, ada.id, "run.created", run_id=run.id, note="\x7f \\ {}")
        made = run.id
    for name in ("uploads/0123/my prompts.jsonl", "models/org--tiny/config.json", "models/.lock", "models/other/x"):
        (here.home / name).parent.mkdir(parents=True, exist_ok=True)
        (here.home / name).write_text(f"content of {name}")
    return made


def test_what_comes_back_is_what_there_was(run_id: UUID, here: Site, there: Site, place: Place) -> None:
    before = sums_of(here.engine)
    taken = backup.take(here, place)
    assert {table.name: table.rows for table in taken.manifest.tables} == {
        name: rows for name, (rows, _) in before.items()
    }
    assert taken.manifest.lost == ()
    assert list(backup.examine(place, taken.manifest)) == []

    restored = backup.restore(there, place)
    assert restored.revision == migrating.newest()
    after = sums_of(there.engine)
    assert after.pop("audit")[0] == before.pop("audit")[0] + 1, "the restoration itself is in the log"
    assert after == before
    assert sums_of(here.engine).keys() == sums_of(there.engine).keys()
    with Session(there.engine) as session:
        assert session.get_one(Run, run_id).name == 'a "run"\twith\\N, ünïcode\n'
    kept = {path.relative_to(there.home) for path in there.home.rglob("*") if path.is_file()}
    files = {path.relative_to(here.home) for path in here.home.rglob("*") if path.is_file()}
    assert kept == files - {Path("models/.lock"), Path("models/other/x")}
    assert all((there.home / name).read_bytes() == (here.home / name).read_bytes() for name in kept)
    restored_store = CheckpointStore(there.home / "checkpoints", reserve_bytes=0)
    for digest in restored_store.digests():
        restored_store.verify(digest)


@pytest.mark.usefixtures("run_id")
def test_the_restored_database_refuses_what_the_first_refused(here: Site, there: Site, place: Place) -> None:
    backup.take(here, place)
    backup.restore(there, place)
    with pytest.raises(ProgrammingError, match="only ever added to"), there.engine.begin() as connection:
        connection.execute(text("delete from audit"))
    constraints = text("select count(*), count(*) filter (where convalidated) from pg_constraint")
    with here.engine.begin() as mine, there.engine.begin() as theirs:
        assert mine.execute(constraints).one() == theirs.execute(constraints).one()


@pytest.mark.usefixtures("run_id")
def test_the_site_goes_on_under_its_own_role(here: Site, there: Site, place: Place) -> None:
    url = str(here.engine.url).replace(f"//{SUPERUSER}@", "//site_of_backups@")
    migrating.let_in(here.engine, url)
    mine = make_engine(url, pool_size=2)
    backup.take(replace(here, engine=mine), place)
    mine.dispose()

    backup.restore(there, place)
    url = str(there.engine.url).replace(f"//{SUPERUSER}@", "//site_of_backups@")
    migrating.let_in(there.engine, url)
    theirs = make_engine(url, pool_size=1)
    with pytest.raises(ProgrammingError, match="permission denied"), theirs.begin() as connection:
        connection.execute(text("update audit set action = 'nothing'"))
    with make_session_factory(theirs)() as session:
        audit.record(session, None, "site.seen")
        session.flush()
        actions = select(Audit.action).order_by(Audit.created_at)
        assert session.scalars(actions).all() == ["run.created", "site.restored", "site.seen"]
    theirs.dispose()


def test_a_backup_taken_while_labels_come_in_is_one_moment(
    session_factory: SessionFactory, here: Site, there: Site, place: Place
) -> None:
    """Label, tally and comparison change in one transaction, so they agree in any moment and in no mixture of two."""
    with session_scope(session_factory) as session:
        run_id, ada = make_run(session).id, make_account(session).id
    enough, taken = Event(), Event()

    def label() -> int:
        for number in count(1):  # the labels last as long as the backup
            with session_scope(session_factory) as session:
                make_comparison(session, session.get_one(Run, run_id))
                (lease,) = labeling.lease(session, ada, run_id, count=1, lease_seconds=60)
                labeling.record(session, ada, lease.comparison_id, verdict=Verdict.TIE, choice=None, key=str(number))
            if number > 20:
                enough.set()
            if taken.is_set():
                break
        return number

    with ThreadPoolExecutor(1) as pool:
        labeled = pool.submit(label)
        try:
            enough.wait(30)
            backup.take(here, place)
        finally:
            taken.set()
        in_all = labeled.result(30)
    backup.restore(there, place)
    with Session(there.engine) as session:
        labels = session.scalar(select(func.count(Label.id))) or 0
        assert 20 < labels < in_all
        assert session.scalar(select(func.sum(Tally.answers))) == labels
        assert session.scalar(text("select sum(answers) from comparison")) == labels


def test_an_older_schema_is_brought_up(run_id: UUID, here: Site, there: Site, place: Place) -> None:
    migrating.downgrade(here.engine, "0008")
    backup.take(here, place)
    migrating.upgrade(here.engine)
    migrating.upgrade(there.engine)  # tables without rows may be there, of any schema
    restored = backup.restore(there, place)
    assert (restored.manifest.revision, restored.revision) == ("0008", migrating.newest())
    assert revision_of(there.engine) == migrating.newest()
    with Session(there.engine) as session:
        assert session.scalar(select(func.count(Label.id)).where(Label.labeler_id.is_not(None))) == 1
        assert session.get_one(Run, run_id).base_model == "org/tiny"


@pytest.mark.usefixtures("run_id")
def test_a_newer_schema_is_refused(here: Site, there: Site, place: Place) -> None:
    taken = backup.take(here, place).manifest
    newer = taken.model_copy(update={"revision": "9999", "id": "99990101T000000.000000Z"})
    newer.write(place)
    with pytest.raises(InvalidError, match=r"has schema 9999, this version knows none after \d+: restore it with"):
        backup.restore(there, place)
    assert revision_of(there.engine) is None


@pytest.mark.usefixtures("run_id")
def test_nothing_is_overwritten(here: Site, there: Site, place: Place) -> None:
    backup.take(here, place)
    before = sums_of(here.engine)
    with pytest.raises(ConflictError, match="is not empty"):
        backup.restore(here, place)
    assert sums_of(here.engine) == before

    other = there.home / "models" / "org--tiny" / "config.json"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    with pytest.raises(ConflictError, match="is not the backup's"):
        backup.restore(there, place)
    assert other.read_text() == "mine"
    assert revision_of(there.engine) is None
    other.unlink()
    other.parent.rmdir()
    backup.restore(there, place)
    with pytest.raises(ConflictError, match="is not empty"):
        backup.restore(there, place)


DAMAGES = ("flipped", "cut", "gone")


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content if how == "flipped" else content[:-1])


@pytest.mark.usefixtures("run_id")
def test_damage_is_named_before_anything_is_touched(here: Site, there: Site, place: Place) -> None:
    manifest = backup.take(here, place).manifest
    weights = next(file for file in manifest.files if file.path.endswith("model.safetensors"))
    labels = next(table for table in manifest.tables if table.name == "label")
    named = {f"files/{weights.sha256}": weights.path, manifest.name_of(labels): "rows of label"}
    for name, what in named.items():
        path = Path(str(place)) / name
        whole = path.read_bytes()
        for how in DAMAGES:
            damage(path, how)
            with pytest.raises(InvalidError, match="is damaged, nothing was restored") as error:
                backup.restore(there, place)
            assert what in error.value.detail
            assert error.value.detail.count(".") - error.value.detail.count("/") < 10, "one sentence"
            assert revision_of(there.engine) is None
            assert list(there.home.iterdir()) == []
            path.write_bytes(whole)
    damage(Path(str(place)) / "backups" / manifest.id / "manifest.json", "flipped")
    with pytest.raises(InvalidError, match=r"manifest.json is damaged"):
        backup.restore(there, place)
    assert revision_of(there.engine) is None


def test_a_second_backup_brings_only_what_is_new(
    run_id: UUID, session_factory: SessionFactory, store: CheckpointStore, here: Site, place: Place
) -> None:
    first = backup.take(here, place).manifest
    files = set(place.sizes("files"))
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        run.candidate_id = make_checkpoint(session, run, number=1, digest=saved(store, 2.0)).id
    second = backup.take(here, place).manifest
    assert len(set(place.sizes("files")) - files) == 2, "its weights and its manifest; the other file is the same"

    assert backup.remove_all_but(place, 1) == [first.id]
    assert backup.backups(place) == [second.id]
    assert list(backup.examine(place, second)) == []
    assert set(place.sizes("files")) == {file.sha256 for file in second.files}


def test_what_the_store_lost_is_told_and_the_rest_is_kept(
    run_id: UUID, session_factory: SessionFactory, store: CheckpointStore, here: Site, place: Place
) -> None:
    (served,) = store.digests()
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        gone = [make_checkpoint(session, run, kind=STATE, number=n, digest=f"{n:064x}") for n in range(3)]
        gone[2].parent_id, gone[1].parent_id, run.training_state_id = gone[1].id, gone[0].id, gone[2].id
    damage(store.root / served / "model.safetensors", "flipped")
    manifest = backup.take(here, place).manifest
    assert len(manifest.lost) == 3, "the state before the last two is missed by nobody"
    assert f"checkpoint {served} has {served}/model.safetensors damaged" in manifest.lost
    assert f"checkpoint {2:064x} is not in the store" in manifest.lost
    assert manifest.rows > 0
    assert not [file for file in manifest.files if served in file.path]


def test_files_stay_while_a_backup_copies_them(session_factory: SessionFactory, engine: Engine) -> None:
    with session_scope(session_factory) as session:
        run = make_run(session)
        states = [make_checkpoint(session, run, kind=STATE, number=n) for n in range(3)]
        states[2].parent_id, states[1].parent_id, run.training_state_id = states[1].id, states[0].id, states[2].id
        run_id, chosen = run.id, {state.id for state in states}
    with engine.begin() as copying:
        copying.execute(text("select pg_advisory_xact_lock(:key)"), {"key": retention.BACKUP_LOCK})
        with session_factory() as session:
            assert outdated_states(session, run_id, keep=2) == []
            with pytest.raises(ConflictError, match="A backup is being made"):
                retention.let_go(session, chosen)
    with session_factory() as session:
        assert len(outdated_states(session, run_id, keep=2)) == 1
        assert len(retention.let_go(session, chosen)) == 1


@pytest.mark.usefixtures("run_id")
def test_a_broken_file_of_the_place_is_mended_by_reading_it_again(here: Site, place: Place) -> None:
    manifest = backup.take(here, place).manifest
    damage(Path(str(place)) / "files" / manifest.files[0].sha256, "flipped")
    assert len(list(backup.examine(place, backup.take(here, place).manifest))) == 1
    assert list(backup.examine(place, backup.take(here, place, reread=True).manifest)) == []


@pytest.mark.usefixtures("run_id")
def test_what_a_killed_backup_left_counts_for_nothing_and_goes(here: Site, there: Site, tmp_path: Path) -> None:
    place = Place(str(tmp_path / "backups"))
    for name in ("unfinished/abc", "backups/20200101T000000.000000Z/label.copy.gz"):
        (tmp_path / "backups" / name).parent.mkdir(parents=True)
        (tmp_path / "backups" / name).write_text("half")
    with pytest.raises(NotFoundError, match="There is no backup in"):
        backup.restore(there, place)
    backup.take(here, place)
    assert not [path for path in (tmp_path / "backups").rglob("*") if path.is_file() and path.read_bytes() == b"half"]


@pytest.mark.usefixtures("run_id")
def test_any_store_that_fsspec_opens_is_a_place(here: Site, there: Site) -> None:
    place = Place("memory://bucket/prefloop")
    manifest = backup.take(here, place).manifest
    assert backup.backups(place) == [manifest.id]
    assert Manifest.read(place, manifest.id) == manifest
    backup.restore(there, place)
    with Session(there.engine) as session:
        assert session.scalar(select(func.count(Label.id))) == 1
    backup.remove_all_but(place, 1)
    assert list(backup.examine(place, manifest)) == []


@pytest.mark.usefixtures("run_id")
def test_checkpoints_come_from_and_go_to_a_store_that_machines_share(here: Site, there: Site, place: Place) -> None:
    first, second = Place("memory://first"), Place("memory://second")
    for name in here.store.sizes(""):
        with first.writing(name) as out:
            out.write(b"".join(here.store.chunks(name)))
    manifest = backup.take(replace(here, store=first), place).manifest
    assert manifest.lost == ()
    backup.restore(replace(there, store=second), place)
    assert second.sizes("") == first.sizes("")
    assert all(second.sha256(name) == first.sha256(name) for name in first.sizes(""))
    assert not (there.home / "checkpoints").exists()


def test_a_place_that_nothing_can_open_is_refused() -> None:
    with pytest.raises(InvalidError, match="Cannot use nowhere://x"):
        Place("nowhere://x")
