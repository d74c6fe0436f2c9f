"""The embedded servers: what they keep, whom they let in, how they come back."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kombu import Connection

from app.embedded import POSTGRES_MAJOR, SOCKET_PATH_BYTES, Postgres, Valkey, socket_folder
from app.errors import UnavailableError
from app.supervisor import Supervisor
from tests.processes import wait_for_end


@pytest.fixture
def home(servers_dir: Path) -> Path:
    made = Path(tempfile.mkdtemp(dir=servers_dir))
    made.chmod(0o711)
    return made


@pytest.fixture
def supervisor(home: Path) -> Iterator[Supervisor]:
    made = Supervisor(home / "logs", print)
    yield made
    made.stop()


def started_postgres(home: Path, supervisor: Supervisor) -> Postgres:
    server = Postgres(data=home / "postgres", durable=False)
    server.prepare()
    supervisor.start(server.child())
    supervisor.wait("postgres", server.is_ready)
    return server


def started_valkey(home: Path, supervisor: Supervisor) -> Valkey:
    server = Valkey(data=home / "valkey")
    server.prepare()
    supervisor.start(server.child())
    supervisor.wait("valkey", server.is_ready)
    return server


class TestPostgres:
    def test_listens_on_no_port_and_hides_its_socket(self, home: Path, supervisor: Supervisor) -> None:
        server = started_postgres(home, supervisor)
        ports = psutil.Process(supervisor.pid("postgres")).net_connections(kind="inet")
        assert ports == []
        assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700

    def test_keeps_rows_over_a_kill(self, home: Path, supervisor: Supervisor) -> None:
        server = started_postgres(home, supervisor)
        with server.connect() as connection:
            connection.execute("create table kept (n int)")
            connection.execute("insert into kept values (41)")
        old = supervisor.pid("postgres")
        os.kill(old, signal.SIGKILL)
        supervisor.wait("postgres", lambda: supervisor.pid("postgres") != old and server.is_ready())
        with server.connect() as connection:
            assert connection.execute("select n from kept").fetchall() == [(41,)]

    def test_starts_over_a_lock_file_whose_number_belongs_to_another_process(
        self, home: Path, supervisor: Supervisor
    ) -> None:
        server = started_postgres(home, supervisor)
        lock = (server.data / "postmaster.pid").read_text()
        supervisor.stop()
        with subprocess.Popen(["sleep", "60"]) as stranger:
            rest = lock.split("\n", 1)[1]
            (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
            (server.sockets / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{rest}")
            server.prepare()
            supervisor.start(server.child())
            supervisor.wait("postgres", server.is_ready)
            assert stranger.poll() is None
            stranger.kill()

    def test_an_interrupted_first_start_leaves_nothing_in_the_way(self, home: Path, supervisor: Supervisor) -> None:
        (home / "postgres.new").mkdir()
        (home / "postgres.new" / "PG_VERSION").write_text("half")
        assert started_postgres(home, supervisor).is_ready()

    def test_refuses_the_data_of_another_major_version(self, home: Path) -> None:
        server = Postgres(data=home / "postgres")
        server.data.mkdir()
        (server.data / "PG_VERSION").write_text("9\n")
        with pytest.raises(UnavailableError, match=rf"made by PostgreSQL 9, this is {POSTGRES_MAJOR}"):
            server.prepare()

    def test_the_password_free_socket_refuses_tcp(self, home: Path) -> None:
        server = Postgres(data=home / "postgres", durable=False)
        server.prepare()
        rules = [line.split() for line in (server.data / "pg_hba.conf").read_text().splitlines()]
        methods = {(rule[0], rule[-1]) for rule in rules if rule and not rule[0].startswith("#")}
        assert methods == {("local", "trust"), ("host", "reject")}


class TestValkey:
    def test_carries_celery_messages_over_a_kill(self, home: Path, supervisor: Supervisor) -> None:
        server = started_valkey(home, supervisor)
        with Connection(server.url) as broker, broker.SimpleQueue("jobs") as queue:
            queue.put({"job": "7"})
        old = supervisor.pid("valkey")
        os.kill(old, signal.SIGKILL)
        supervisor.wait("valkey", lambda: supervisor.pid("valkey") != old and server.is_ready())
        with Connection(server.url) as broker, broker.SimpleQueue("jobs") as queue:
            assert queue.get(timeout=5).payload == {"job": "7"}

    def test_listens_on_no_port_and_its_socket_is_private(self, home: Path, supervisor: Supervisor) -> None:
        server = started_valkey(home, supervisor)
        assert psutil.Process(supervisor.pid("valkey")).net_connections(kind="inet") == []
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


class TestSocketFolder:
    def test_is_the_data_folder_itself_while_its_name_is_short(self) -> None:
        assert socket_folder(Path("/srv/prefloop/postgres")) == Path("/srv/prefloop/postgres")

    def test_a_long_name_gets_a_short_one_always_the_same(self, tmp_path: Path) -> None:
        data = tmp_path / ("x" * SOCKET_PATH_BYTES)
        folder = socket_folder(data)
        assert folder == socket_folder(data)
        assert len(str(folder)) <= SOCKET_PATH_BYTES
        assert folder.resolve() == data
        folder.unlink()
        folder.mkdir()
        with pytest.raises(UnavailableError, match="not a link of yours"):
            socket_folder(data)
        folder.rmdir()

    def test_servers_with_a_long_name_can_be_reached(self, home: Path, supervisor: Supervisor) -> None:
        home = home / ("x" * SOCKET_PATH_BYTES)
        for server in (started_postgres(home, supervisor), started_valkey(home, supervisor)):
            assert server.is_ready()
            socket_folder(server.data).unlink()


def test_no_server_outlives_a_killed_supervisor(home: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from app.embedded import Postgres, Valkey
        from app.supervisor import Supervisor
        home = Path({str(home)!r})
        servers = (Postgres(data=home / "postgres", durable=False), Valkey(data=home / "valkey"))
        supervisor = Supervisor(home / "logs", print)
        for server in servers:
            server.prepare()
            supervisor.start(server.child())
            supervisor.wait(server.child().name, server.is_ready)
        print(supervisor.pid("postgres"), supervisor.pid("valkey"), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    pids = [int(pid) for pid in killed.stdout.split()]
    assert len(pids) == 2
    wait_for_end(pids)
