"""The supervisor over tiny real processes: what it restarts, what it stops, what it says."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.errors import UnavailableError
from app.supervisor import LOG_BYTES, Child, Stopped, Supervisor
from tests.processes import alive, wait_for_end


def program(source: str, name: str = "tiny", **facts: object) -> Child:
    argv = (sys.executable, "-u", "-I", "-S", "-c", textwrap.dedent(source))
    return Child(name=name, argv=argv, **facts)  # type: ignore[arg-type]


SLEEPER = "import time; time.sleep(600)"
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf")
    time.sleep(600)
"""


class Said(list[str]):
    """What the supervisor said."""

    def heard(self, words: str) -> bool:
        return any(words in line for line in self)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def supervisor(tmp_path: Path, said: Said) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs", said.append)
    yield made
    made.stopping = False
    made.stop()


def log_of(tmp_path: Path, name: str = "tiny") -> str:
    return (tmp_path / "logs" / f"{name}.log").read_text()


class TestRestart:
    def test_a_killed_child_comes_back_and_is_reported(self, supervisor: Supervisor, said: Said) -> None:
        supervisor.start(program(SLEEPER))
        first = supervisor.pid("tiny")
        os.kill(first, signal.SIGKILL)
        supervisor.wait("tiny", lambda: supervisor.pid("tiny") != first)
        assert alive(supervisor.pid("tiny"))
        assert said == ["tiny was killed by SIGKILL and will be started again"]

    def test_the_others_go_on_untouched(self, supervisor: Supervisor) -> None:
        supervisor.start(program(SLEEPER, name="one"))
        supervisor.start(program(SLEEPER, name="two"))
        one, two = supervisor.pid("one"), supervisor.pid("two")
        os.kill(one, signal.SIGKILL)
        supervisor.wait("one", lambda: supervisor.pid("one") != one)
        assert supervisor.pid("two") == two
        assert alive(two)

    def test_a_child_that_never_gets_ready_is_named_with_its_log(self, supervisor: Supervisor, tmp_path: Path) -> None:
        supervisor.start(program("raise SystemExit(3)"))
        with pytest.raises(UnavailableError, match=rf"tiny does not start: see {tmp_path}/logs/tiny.log"):
            supervisor.wait("tiny", lambda: False)

    def test_waiting_has_an_end(self, supervisor: Supervisor) -> None:
        supervisor.start(program(SLEEPER))
        with pytest.raises(UnavailableError, match="tiny does not start"):
            supervisor.wait("tiny", lambda: False, seconds=0.3)


class TestStop:
    def test_children_get_their_own_signal_and_time_to_end(self, supervisor: Supervisor, tmp_path: Path) -> None:
        saving = """
            import signal, sys, time
            def save(number, frame):
                time.sleep(0.5)
                print("saved")
                sys.exit(0)
            signal.signal(signal.SIGINT, save)
            print("up")
            time.sleep(600)
        """
        supervisor.start(program(saving, stop_signal=signal.SIGINT))
        supervisor.wait("tiny", lambda: "up" in log_of(tmp_path))
        supervisor.stop()
        assert log_of(tmp_path) == "up\nsaved\n"

    def test_a_deaf_child_is_killed_with_its_own_children(
        self, supervisor: Supervisor, tmp_path: Path, said: Said
    ) -> None:
        parent = f"""
            import signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}])
            print(child.pid)
            time.sleep(600)
        """
        supervisor.start(program(parent, stop_seconds=0.3))
        supervisor.wait("tiny", lambda: log_of(tmp_path).endswith("\n"))
        pid, grandchild = supervisor.pid("tiny"), int(log_of(tmp_path))
        supervisor.stop()
        assert said == ["tiny did not stop in 0 s and was killed"]
        wait_for_end([pid, grandchild])

    def test_only_the_named_ones_stop(self, supervisor: Supervisor) -> None:
        supervisor.start(program(SLEEPER, name="one"))
        supervisor.start(program(SLEEPER, name="two"))
        one, two = supervisor.pid("one"), supervisor.pid("two")
        supervisor.stop(["one"])
        assert (alive(one), alive(two)) == (False, True)

    def test_a_stop_asked_for_ends_every_wait(self, supervisor: Supervisor) -> None:
        supervisor.start(program(SLEEPER))
        supervisor.stopping = True
        with pytest.raises(Stopped):
            supervisor.wait("tiny", lambda: False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    source = f"""
        import os, signal, sys
        from pathlib import Path
        from app.supervisor import LOG_BYTES, Child, Supervisor
        supervisor = Supervisor(Path({str(tmp_path)!r}), print)
        deaf = {textwrap.dedent(STUBBORN)!r}
        supervisor.start(Child(name="deaf", argv=(sys.executable, "-u", "-c", deaf)))
        supervisor.wait("deaf", lambda: (Path({str(tmp_path)!r}) / "deaf.log").read_text() != "")
        print(supervisor.pid("deaf"), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True)
    wait_for_end([int(killed.stdout)])


class TestRun:
    def test_gives_the_exit_code_and_what_was_written(self, supervisor: Supervisor) -> None:
        assert supervisor.run(program("print('progress'); print('smollm'); raise SystemExit(4)")) == (
            4,
            "progress\nsmollm\n",
        )

    def test_ends_the_program_when_told_to_stop(self, supervisor: Supervisor) -> None:
        before = set(psutil.Process().children())  # servers of other tests may run
        supervisor.stopping = True
        with pytest.raises(Stopped):
            supervisor.run(program(SLEEPER))
        assert set(psutil.Process().children()) <= before


class TestLogs:
    NOISE = "print('all is well'); print('2026 [error    ] no disk job=7'); import time; time.sleep(600)"

    def test_only_errors_reach_the_terminal(self, supervisor: Supervisor, said: Said, tmp_path: Path) -> None:
        supervisor.start(program(self.NOISE))
        supervisor.wait("tiny", lambda: said.heard("error"))
        assert said == ["tiny | 2026 [error    ] no disk job=7"]
        assert log_of(tmp_path).splitlines()[0] == "all is well"

    def test_all_lines_do_when_asked(self, tmp_path: Path, said: Said) -> None:
        supervisor = Supervisor(tmp_path, said.append, verbose=True)
        supervisor.start(program(self.NOISE))
        supervisor.wait("tiny", lambda: said.heard("error"))
        supervisor.stop()
        assert said == ["tiny | all is well", "tiny | 2026 [error    ] no disk job=7"]

    def test_a_log_grown_too_long_starts_again_and_loses_nothing(self, tmp_path: Path, said: Said) -> None:
        supervisor = Supervisor(tmp_path, said.append, verbose=True)
        half = LOG_BYTES // 2
        chatter = (
            f"for n in range(3): print(n, 'x' * {half}); import time; time.sleep(0.5)\nprint('end'); time.sleep(600)"
        )
        supervisor.start(program(chatter))
        supervisor.wait("tiny", lambda: said.heard("end"))
        supervisor.stop()
        assert [line.split()[2] for line in said] == ["0", "1", "2", "end"]
        assert (tmp_path / "tiny.log").stat().st_size < half + 100
        assert (tmp_path / "tiny.log.1").stat().st_size > LOG_BYTES

    def test_environment_and_folder_reach_the_child(self, supervisor: Supervisor, tmp_path: Path) -> None:
        show = "import os; print(os.environ['PREFLOOP_TRY'], os.getcwd(), bool(os.environ['PATH']))"
        child = program(show, env={"PREFLOOP_TRY": "yes"}, cwd=tmp_path)
        assert supervisor.run(child) == (0, f"yes {tmp_path} True\n")

    def test_a_nice_child_lets_others_go_first_and_so_do_its_own(self, supervisor: Supervisor) -> None:
        show = "import os, subprocess; print(os.nice(0), subprocess.check_output(['nice'], text=True), end='')"
        mine = os.nice(0)
        assert supervisor.run(program(show, nice=3)) == (0, f"{mine + 3} {mine + 3}\n")
        assert supervisor.run(program(show)) == (0, f"{mine} {mine}\n")
