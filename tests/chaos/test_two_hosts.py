"""Two trainers on two hosts share a broker, a database and a store; one is cut off in the midst of a job."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.orm import Session

from app import embedded, migrating, plant, runs, welcome
from app.db import make_session_factory, session_scope
from app.embedded import DATABASE, SUPERUSER
from app.hparams import planned
from app.kinds import JobKind
from app.models import Comparison, Job, JobState, Label, Metric, Phase, Run, Worker
from app.settings import Settings
from app.simulate import Options, Summary, load_rule, simulate
from app.supervisor import Child, Supervisor
from tests.chaos.network import CENTER, NET, Host, hosts, possible
from tests.chaos.world import BATCH, QUICK, hparams
from tests.processes import wait_until
from tests.tiny import save_tiny_model

PASSWORD = "of-the-test"
VALKEY_PORT, WEB_PORT = 26379, 28017
ROOT = Path(__file__).parent.parent.parent
EVENTS = 8
"""As long a run as that many events would take."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not possible(), reason="needs root and the command ip")]


class Site:
    """Servers and web on this machine, a trainer on each host."""

    def __init__(self, home: Path, trainers: list[Host]) -> None:
        self.home, self.trainers = home, trainers
        self.postgres, self.valkey = embedded.servers(home)
        self.settings = Settings(
            home=home,
            port=WEB_PORT,
            database_url=f"postgresql+psycopg://{SUPERUSER}:{PASSWORD}@{CENTER}/{DATABASE}",
            broker_url=f"redis://{CENTER}:{VALKEY_PORT}/0",
        )
        self.supervisor = Supervisor(home / "logs", print)
        self.engine: Engine = create_engine(self.postgres.url())

    def start(self) -> None:
        """Servers that listen on the bridge, then everything else."""
        for server, child in ((self.postgres, self._listening_postgres()), (self.valkey, self._listening_valkey())):
            self.supervisor.start(child)
            self.supervisor.wait(child.name, server.is_ready)
        self.postgres.ensure_database()
        with self.postgres.connect() as connection:
            connection.execute(f"alter role {SUPERUSER} password '{PASSWORD}'".encode())
        migrating.upgrade(self.engine)
        for child in plant.children(self.settings):
            given = replace(child, env=child.env | QUICK | {"OMP_NUM_THREADS": "1"})
            for started in [host.runs(given) for host in self.trainers] if child.name == "trainer" else [given]:
                self.supervisor.start(started)

    def _listening_postgres(self) -> Child:
        self.postgres.prepare()
        rules = self.postgres.data / "pg_hba.conf"
        rules.write_text(f"{rules.read_text()}\nhost all all {NET}.0/24 scram-sha-256\n")
        child = self.postgres.child()
        return replace(child, argv=(*child.argv, "-c", f"listen_addresses={CENTER}"))

    def _listening_valkey(self) -> Child:
        self.valkey.prepare()
        child = self.valkey.child()
        listening = ("--port", str(VALKEY_PORT), "--bind", CENTER, "--protected-mode", "no")
        return replace(child, argv=(*child.argv, *listening))

    def begin(self) -> tuple[str, str]:
        """Prompts, people and a small run; its id, and a researcher's token."""
        model = str(save_tiny_model(self.home / "tiny"))
        factory = make_session_factory(self.engine)
        greeting = welcome.prepare(factory, self.settings, base_model=model, preset=welcome.DEFAULT_PRESET)
        with session_scope(factory) as session:
            asked = planned(welcome.DEFAULT_PRESET, hparams(EVENTS))
            made = runs.create(session, name="two hosts", base_model=model, hparams=asked, actor_id=None)
            return str(made.id), greeting.api_token

    def at_work(self, host: Host, kind: JobKind) -> bool:
        """Whether a trainer has such a job in hand."""
        mine = select(Job.id).where(Job.state == JobState.RUNNING, Job.kind == kind, Job.worker.startswith(host.name))
        with Session(self.engine) as session:
            return session.scalar(mine) is not None

    def poll_until(self, what: str, is_so: Callable[[], bool], seconds: float) -> None:
        """Wait, and keep everything running meanwhile."""

        def polled() -> bool:
            self.supervisor.poll()
            return is_so()

        wait_until(what, polled, seconds)


@pytest.fixture(scope="module")
def site(servers_dir: Path) -> Iterator[Site]:
    """Everything runs."""
    home = servers_dir / "hosts"
    home.mkdir(mode=0o711)
    with hosts(["pf-near", "pf-far"]) as made:
        started = Site(home, made)
        try:
            started.start()
            yield started
        finally:
            started.supervisor.stop()
            started.engine.dispose()


def test_the_other_host_takes_over_and_the_run_finishes(site: Site) -> None:
    run_id, token = site.begin()
    near, far = site.trainers
    options = Options(
        url=site.settings.site_url,
        token=token,
        rule=load_rule("longest"),
        run_id=run_id,
        labelers=3,
        seconds_per_label=0.5,
    )
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        labeling = pool.submit(simulate, options, stop)
        try:
            site.poll_until("the far host to optimise", lambda: site.at_work(far, JobKind.TRAIN_POLICY), 400)
            far.cut_off()
            before = done_by(site, far)
            site.poll_until("the near host to take over", lambda: site.at_work(near, JobKind.TRAIN_POLICY), 120)
            site.poll_until("some more", lambda: labeling.done() or len(updates(site, run_id)) >= 8, 300)
            assert done_by(site, far) == before, "what the lost host computed counts for nothing"
            far.plug_in()
            site.poll_until("the end of the run", lambda: phase(site, run_id) == Phase.FINISHED, 600)
            site.poll_until("the far host to be heard of", lambda: heard_of(site, far), 120)
        finally:
            stop.set()
        summary = labeling.result(60)
    check(site, run_id, summary)


HOLD = """
import sys, time
from app.db import make_engine
with make_engine(sys.argv[1]).connect() as connection:
    connection.exec_driver_sql("select pg_advisory_lock(42)")
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_locks_of_a_host_that_is_cut_off_are_free_within_a_minute(site: Site) -> None:
    """By default PostgreSQL would find out after two hours."""
    _, far = site.trainers
    argv = (sys.executable, "-c", HOLD, site.settings.need_database_url())
    command = far.runs(Child(name="holder", argv=argv)).argv
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not is_free(site, 42)
        far.cut_off()
        try:
            site.poll_until("the lock to be free", lambda: is_free(site, 42), 60)
        finally:
            far.plug_in()
            holder.kill()


def is_free(site: Site, key: int) -> bool:
    """Whether nobody holds an advisory lock."""
    with site.engine.begin() as connection:
        return bool(connection.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": key}))


def check(site: Site, run_id: str, summary: Summary) -> None:
    """Nothing is lost, nothing doubled."""
    episodes = hparams(EVENTS)["ppo"]["episodes"]
    assert updates(site, run_id) == list(range(BATCH, episodes + 1, BATCH))
    with Session(site.engine) as session:
        labels = session.scalars(select(Label).join(Comparison).where(Comparison.run_id == run_id)).all()
        jobs = session.scalars(select(Job).where(Job.run_id == run_id)).all()
        workers = Counter(str(job.worker).split(":")[0] for job in jobs if job.state == JobState.DONE)
        claims = sum(job.attempt for job in jobs)
    print(f"{len(jobs)} jobs, {claims} claims, done by {dict(workers)}, {len(labels)} labels, {episodes} episodes")
    assert len(labels) == summary.labels
    assert len({(label.comparison_id, label.labeler_id) for label in labels}) == len(labels)
    assert workers.keys() == {host.name for host in site.trainers}
    assert claims > len(jobs), "a job was taken over"


def updates(site: Site, run_id: str) -> list[int]:
    """Episodes at the end of each update that was recorded."""
    with Session(site.engine) as session:
        steps = select(Metric.step).where(Metric.run_id == run_id, Metric.name == "objective/kl")
        return sorted(session.scalars(steps))


def phase(site: Site, run_id: str) -> str:
    """Of the run."""
    with Session(site.engine) as session:
        return session.scalars(select(Run.phase).where(Run.id == run_id)).one()


def done_by(site: Site, host: Host) -> int:
    """Jobs that a host ended."""
    with Session(site.engine) as session:
        mine = select(func.count(Job.id)).where(Job.state == JobState.DONE, Job.worker.startswith(host.name))
        return session.scalar(mine) or 0


def heard_of(site: Site, host: Host) -> bool:
    """Whether its worker said lately that it lives."""
    recent = func.clock_timestamp() - timedelta(seconds=5)
    with Session(site.engine) as session:
        seen = select(Worker.name).where(Worker.name.startswith(host.name), Worker.seen_at > recent)
        return session.scalar(seen) is not None
