"""Each thing that keeps Prefloop from starting is told in one sentence."""

import multiprocessing
import multiprocessing.synchronize
import os
import socket
from pathlib import Path

import pytest

from app.errors import UnavailableError
from app.preflight import check_port, check_room, claimed


class TestClaimed:
    def test_a_second_start_on_the_same_folder_names_the_first(self, tmp_path: Path) -> None:
        sentence = rf"already runs on {tmp_path} \(process {os.getpid()}\): stop it first"
        with claimed(tmp_path), pytest.raises(UnavailableError, match=sentence), claimed(tmp_path):
            pytest.fail("two processes hold one folder")

    def test_the_folder_is_free_again_afterwards(self, tmp_path: Path) -> None:
        for _ in range(2):
            with claimed(tmp_path / "new" / "home"):
                assert (tmp_path / "new" / "home" / "up.lock").read_text() == str(os.getpid())

    def test_a_killed_holder_holds_nothing(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        entered = context.Event()
        holder = context.Process(target=hold, args=(tmp_path, entered))
        holder.start()
        assert entered.wait(30)
        with pytest.raises(UnavailableError, match=f"process {holder.pid}"), claimed(tmp_path):
            pytest.fail("two processes hold one folder")
        holder.kill()
        holder.join()
        with claimed(tmp_path):
            pass

    def test_a_file_in_the_way_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("not a folder")
        with pytest.raises(UnavailableError, match=r"File exists.*PREFLOOP_HOME"), claimed(tmp_path / "home"):
            pytest.fail("a file was taken for a folder")


def hold(home: Path, entered: "multiprocessing.synchronize.Event") -> None:
    with claimed(home):
        entered.set()
        multiprocessing.Event().wait()


class TestRoom:
    def test_a_full_disk_is_told_with_both_sizes(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError, match=r"GiB are free in .*, Prefloop needs 1048576\.0"):
            check_room(tmp_path, 2**50)

    def test_enough_room_is_no_news(self, tmp_path: Path) -> None:
        check_room(tmp_path, 1)


class TestPort:
    def test_a_port_in_use_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(
                UnavailableError, match=rf"port {port} .Address already in use.: choose another port with PREFLOOP_PORT"
            ):
                check_port("127.0.0.1", port)
        check_port("127.0.0.1", port)

    def test_a_host_that_is_not_ours_is_told(self) -> None:
        with pytest.raises(UnavailableError, match=r"Cannot listen on 203\.0\.113\.7"):
            check_port("203.0.113.7", 8000)
