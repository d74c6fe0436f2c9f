"""Checkpoints: whole or absent, named by what they hold."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from workers import checkpoints
from workers.checkpoints import (
    CheckpointStore,
    CorruptCheckpointError,
    MissingCheckpointError,
    StoreFullError,
    pack_generator,
    pack_optimizer,
    unpack_generator,
    unpack_optimizer,
)
from workers.rlhf.adam import TFAdam

ALL_DTYPES = {
    "f64": torch.tensor(3.5, dtype=torch.float64),
    "f32": torch.arange(12.0).reshape(3, 4).T,
    "bf16": torch.randn(5, generator=torch.Generator().manual_seed(0)).bfloat16(),
    "i64": torch.tensor([[1, -2]]),
    "u8": torch.arange(7, dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 3),
}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store", reserve_bytes=0)


def leftovers(store: CheckpointStore) -> list[str]:
    return [path.name for path in store.root.glob(".*")]


def test_what_was_saved_comes_back(store: CheckpointStore) -> None:
    meta = {"kl_coef": 0.1 + 0.2, "episodes": 32, "none": None, "nested": {"a": [1, 2]}}
    loaded = store.load(store.save("training", {"policy": ALL_DTYPES, "optimizer": {"x": torch.ones(2)}}, meta))
    assert (loaded.kind, loaded.meta) == ("training", meta)
    assert set(loaded.tensors) == {"policy", "optimizer"}
    for name, tensor in ALL_DTYPES.items():
        back = loaded.tensors["policy"][name]
        assert back.dtype == tensor.dtype
        assert torch.equal(back, tensor)


def test_a_file_of_many_blocks_reads_back_with_the_library(store: CheckpointStore) -> None:
    big = torch.randn(5_000_001, generator=torch.Generator().manual_seed(1))  # 20 MB, ends within a page
    digest = store.save("x", {"w": {"big": big, "small": torch.ones(3)}}, {})
    read = safetensors.torch.load_file(store.root / digest / "w.safetensors")
    assert torch.equal(read["big"], big)
    store.verify(digest)


def test_the_digest_depends_on_content_alone(store: CheckpointStore) -> None:
    a, b = torch.ones(2), torch.zeros(3)
    first = store.save("k", {"f": {"a": a, "b": b}, "g": {"a": a}}, {"x": 1, "y": 2})
    assert store.save("k", {"g": {"a": a}, "f": {"b": b, "a": a}}, {"y": 2, "x": 1}) == first
    others = {
        store.save("other", {"f": {"a": a, "b": b}, "g": {"a": a}}, {"x": 1, "y": 2}),
        store.save("k", {"f": {"a": a, "b": b}, "g": {"a": b}}, {"x": 1, "y": 2}),
        store.save("k", {"f": {"a": a, "b": b}, "g": {"a": a}}, {"x": 1, "y": 3}),
    }
    assert store.digests() == {first, *others}
    assert len(others) == 3
    assert leftovers(store) == []


def test_changing_a_loaded_tensor_leaves_the_file(store: CheckpointStore) -> None:
    digest = store.save("k", {"f": {"a": torch.ones(4)}}, {})
    store.load(digest).tensors["f"]["a"].zero_()
    assert store.load(digest).tensors["f"]["a"].tolist() == [1, 1, 1, 1]
    store.verify(digest)


def test_a_deleted_checkpoint_is_gone_for_new_readers_only(store: CheckpointStore) -> None:
    digest = store.save("k", {"f": {"a": torch.full((100_000,), 7.0)}}, {})
    held = store.load(digest)
    store.delete(digest)
    store.delete(digest)
    assert (held.tensors["f"]["a"] == 7).all()
    with pytest.raises(MissingCheckpointError, match="no checkpoint"):
        store.load(digest)
    assert not any(store.root.iterdir())


@pytest.mark.parametrize("digest", ["", "../x", "0" * 64, "nonsense"])
def test_an_unknown_digest_is_missing(store: CheckpointStore, digest: str) -> None:
    with pytest.raises(MissingCheckpointError):
        store.load(digest)
    store.delete(digest)


def test_damage_is_found(store: CheckpointStore) -> None:
    digest = store.save("k", {"f": {"a": torch.ones(1000)}}, {"x": 1})
    file, manifest = (store.root / digest / name for name in ("f.safetensors", "manifest.json"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\x00")
    with pytest.raises(CorruptCheckpointError, match=r"f\.safetensors"):
        store.verify(digest)
    file.write_bytes(whole[:100])
    with pytest.raises(CorruptCheckpointError, match="cannot be read"):
        store.load(digest)
    manifest.write_text(manifest.read_text().replace('"x": 1', '"x": 2'))
    with pytest.raises(CorruptCheckpointError, match="was changed"):
        store.load(digest)
    manifest.write_text("{")
    with pytest.raises(CorruptCheckpointError, match="manifest"):
        store.manifest(digest)


def test_tied_weights_are_written_once_and_come_back_under_both_names(store: CheckpointStore) -> None:
    weight = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    file = {"head": weight, "embedding": weight, "tail": weight[500:], "empty": torch.zeros(0), "none": torch.zeros(0)}
    digest = store.save("k", {"f": file}, {})
    assert store.size(digest) < 1.7 * weight.nbytes
    loaded = store.load(digest).tensors["f"]
    assert loaded.keys() == file.keys()
    assert all(torch.equal(loaded[name], file[name]) for name in file)
    store.verify(digest)


def test_the_manifest_names_sums_and_libraries(store: CheckpointStore) -> None:
    digest = store.save("k", {"f": {"a": torch.ones(1)}}, {})
    manifest = json.loads((store.root / digest / "manifest.json").read_text())
    assert manifest["libraries"]["torch"] == importlib.metadata.version("torch")
    assert len(manifest["files"]["f"]["sha256"]) == 64
    assert store.size(digest) == (store.root / digest / "f.safetensors").stat().st_size


def test_no_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, reserve_bytes=shutil.disk_usage(tmp_path).total)
    with pytest.raises(StoreFullError, match="Free some space"):
        store.save("k", {"f": {"a": torch.ones(1)}}, {})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("room", [2**20, 2**20 - 1000])
def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path: Path, room: int) -> None:
    script = f"""
import resource, signal, torch
from pathlib import Path
from workers.checkpoints import CheckpointStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
CheckpointStore(Path({str(tmp_path)!r})).save("k", {{"f": {{"a": torch.ones(1_000_000)}}}}, {{}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "StoreFullError" in done.stderr
    assert not any(tmp_path.iterdir())


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(store: CheckpointStore) -> None:
    script = f"""
import os, signal, time, torch
from pathlib import Path
from workers.checkpoints import CheckpointStore
with CheckpointStore(Path({str(store.root)!r}))._temporary() as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    folder = Path(writer.stdout.readline().strip())
    long_ago = time.time() - 2 * checkpoints.LEFTOVER_SECONDS
    os.utime(folder, (long_ago, long_ago))
    store.sweep()
    assert folder.exists()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    store.save("k", {}, {})
    assert leftovers(store) == []


def test_bad_names_and_values_are_refused(store: CheckpointStore) -> None:
    with pytest.raises(ValueError, match="file name"):
        store.save("k", {"../f": {}}, {})
    with pytest.raises(ValueError, match="JSON"):
        store.save("k", {"f": {}}, {"x": float("nan")})
    with pytest.raises(ValueError, match="dtype"):
        store.save("k", {"f": {"a": torch.ones(1, dtype=torch.complex64)}}, {})
    assert not any(store.root.iterdir())


@pytest.mark.parametrize("kind", [TFAdam, torch.optim.Adam])
def test_an_optimizer_goes_on_bit_for_bit(store: CheckpointStore, kind: type[TFAdam] | type[torch.optim.Adam]) -> None:
    def build() -> tuple[dict[str, torch.nn.Parameter], TFAdam | torch.optim.Adam]:
        params = {name: torch.nn.Parameter(torch.ones(3)) for name in ("a", "b")}
        return params, kind([*params.values()], lr=0.1)

    def step(params: dict[str, torch.nn.Parameter], optimizer: TFAdam | torch.optim.Adam, times: int) -> None:
        for _ in range(times):
            loss = sum(((i + 2) * p.square().sum() for i, p in enumerate(params.values())), torch.zeros(()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    params, optimizer = build()
    step(params, optimizer, 2)
    digest = store.save("t", {"p": params, "o": pack_optimizer(optimizer, params)}, {})
    step(params, optimizer, 2)

    loaded = store.load(digest).tensors
    again, resumed = build()
    for name, param in again.items():
        param.data.copy_(loaded["p"][name])
    unpack_optimizer(resumed, again, loaded["o"])
    step(again, resumed, 2)
    assert all(torch.equal(again[name], params[name]) for name in params)
    with pytest.raises(ValueError, match="lacks"):
        unpack_optimizer(resumed, {"a": again["a"]}, loaded["o"])


def test_a_generator_goes_on_where_it_stood(store: CheckpointStore) -> None:
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    digest = store.save("t", {"rng": {"torch": pack_generator(generator)}}, {})
    expected = torch.rand(4, generator=generator)
    other = torch.Generator()
    unpack_generator(other, store.load(digest).tensors["rng"]["torch"])
    assert torch.equal(torch.rand(4, generator=other), expected)


def test_small_files_lie_beside_the_tensors_and_count(store: CheckpointStore) -> None:
    tensors = {"f": {"a": torch.ones(1)}}
    plain = store.save("k", tensors, {})
    digest = store.save("k", tensors, {}, {"config.json": b'{"a": 1}', "LICENSE": b""})
    assert store.save("k", tensors, {}, {"LICENSE": b"", "config.json": b'{"a": 1}'}) == digest
    assert len({plain, digest, store.save("k", tensors, {}, {"config.json": b'{"a": 2}', "LICENSE": b""})}) == 3
    assert (store.load(digest).folder / "config.json").read_bytes() == b'{"a": 1}'
    assert store.size(digest) == store.size(plain) + 8
    store.verify(digest)


def test_a_small_file_that_changed_is_found(store: CheckpointStore) -> None:
    digest = store.save("k", {}, {}, {"config.json": b"12345"})
    path = store.root / digest / "config.json"
    path.write_bytes(b"12346")
    with pytest.raises(CorruptCheckpointError, match=r"config\.json is not what was saved"):
        store.verify(digest)
    path.write_bytes(b"123")
    with pytest.raises(CorruptCheckpointError, match=r"config\.json, or has it cut short"):
        store.load(digest)
    path.unlink()
    with pytest.raises(CorruptCheckpointError, match=r"lacks config\.json"):
        store.load(digest)


@pytest.mark.parametrize("name", ["../x", "manifest.json", "f.safetensors", "a/b", ".hidden", ""])
def test_names_that_would_hide_something_are_refused(store: CheckpointStore, name: str) -> None:
    with pytest.raises(ValueError, match="beside the tensors"):
        store.save("k", {}, {}, {name: b""})
