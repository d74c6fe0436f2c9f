"""Two machines on one store: a real S3 server of the package index, and a folder by the same code."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from tests.composed import free_port
from tests.s3 import s3_server
from workers.checkpoints import CheckpointStore, CorruptCheckpointError, MissingCheckpointError
from workers.shared_store import UNSHARED_SECONDS, SharedStore, StoreUnreachableError, open_store

WEIGHTS = {"model": {"w": torch.arange(12.0).reshape(3, 4), "tied": torch.ones(3)}}
EXTRAS = {"config.json": b"{}"}


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server("prefloop") as variables:
        yield variables


@pytest.fixture(params=["s3", "folder"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'place'}"
    variables: dict[str, str] = request.getfixturevalue("server")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    return f"s3://prefloop/{tmp_path.name}"


@pytest.fixture
def machines(url: str, tmp_path: Path) -> tuple[CheckpointStore, CheckpointStore]:
    return open_store(tmp_path / "one", url), open_store(tmp_path / "two", url)


def test_what_one_machine_saves_another_reads_whole(machines: tuple[CheckpointStore, CheckpointStore]) -> None:
    one, two = machines
    digest = one.save("policy", WEIGHTS, {"number": 3}, EXTRAS)
    assert two.digests() == {digest}
    assert two.size(digest) == one.size(digest)
    assert two.age(digest) < 60
    assert not list(two.root.iterdir()), "nothing was fetched to learn that"
    loaded = two.load_checked(digest)
    assert torch.equal(loaded.tensors["model"]["w"], WEIGHTS["model"]["w"])
    assert (loaded.meta, (loaded.folder / "config.json").read_bytes()) == ({"number": 3}, b"{}")
    assert two.save("policy", WEIGHTS, {"number": 3}, EXTRAS) == digest


def test_what_is_removed_on_one_is_gone_for_all(
    machines: tuple[CheckpointStore, CheckpointStore], tmp_path: Path
) -> None:
    one, two = machines
    digest = one.save("policy", WEIGHTS, {})
    two.load(digest)
    one.delete(digest)
    assert one.digests() == set()
    with pytest.raises(MissingCheckpointError):
        one.load(digest)
    assert two.load(digest), "who has it keeps it for a while"
    hour_ago = time.time() - UNSHARED_SECONDS - 1
    os.utime(tmp_path / "two" / digest, (hour_ago, hour_ago))
    two.sweep()
    assert two.digests() == set()


def test_a_broken_copy_is_fetched_again_and_a_broken_original_is_refused(
    machines: tuple[CheckpointStore, CheckpointStore], tmp_path: Path, url: str
) -> None:
    one, two = machines
    digest = one.save("policy", WEIGHTS, {})
    two.load(digest)
    copy = tmp_path / "two" / digest / "model.safetensors"
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert torch.equal(two.load_checked(digest).tensors["model"]["w"], WEIGHTS["model"]["w"])
    fs, place = fsspec.url_to_fs(url)
    fs.pipe_file(f"{place}/{digest}/model.safetensors", b"not these")
    with pytest.raises(CorruptCheckpointError, match="is not what was saved"):
        open_store(tmp_path / "three", url).load(digest)
    assert not (tmp_path / "three" / digest).exists()


def test_without_its_manifest_nothing_is_there(machines: tuple[CheckpointStore, CheckpointStore], url: str) -> None:
    """As after a machine that died in the midst of sharing."""
    one, two = machines
    digest = one.save("policy", WEIGHTS, {})
    fs, place = fsspec.url_to_fs(url)
    fs.rm(f"{place}/{digest}/manifest.json")
    assert two.digests() == set()
    with pytest.raises(MissingCheckpointError):
        two.load(digest)
    one.save("policy", WEIGHTS, {})
    assert two.load_checked(digest)


def test_a_place_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    store = SharedStore(tmp_path, "s3://prefloop/x")
    with pytest.raises(StoreUnreachableError, match=r"s3://prefloop/x does not answer .* PREFLOOP_STORE"):
        store.save("policy", WEIGHTS, {})


def test_without_a_url_it_is_the_folder_alone(tmp_path: Path) -> None:
    assert type(open_store(tmp_path, None)) is CheckpointStore
