"""Models pushed: to stores of fsspec, and to a hub that speaks the real protocol; refusals are sentences."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import huggingface_hub
import pytest

from app.errors import InvalidError, UnavailableError
from tests.hub import Hub, Repo, hub_of
from workers.transfers.pushing import push

pytestmark = pytest.mark.filterwarnings("ignore:Use .content=:DeprecationWarning")  # of huggingface_hub, as it uploads

TOKEN = "hf_ada"
CARD = "---\nlibrary_name: transformers\n---\n\n# Policy 7\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub in this process takes for the real one; Ada's token is set."""
    with hub_of(ada=TOKEN) as made:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policy-7"
    made.mkdir()
    (made / "README.md").write_text(CARD)
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(os.urandom(200_000))
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_hub_has_every_byte_in_a_private_repository(hub: Hub, folder: Path) -> None:
    assert push(folder, "hf://ada/stories") == "hf://ada/stories"
    assert hub.repos["model", "ada/stories"] == Repo(private=True, files=files_of(folder))


def test_a_second_push_sends_only_what_is_new(hub: Hub, folder: Path) -> None:
    push(folder, "hf://ada/stories")
    before, hub.asked[:] = files_of(folder), []
    (folder / "config.json").write_text('{"n_layer": 2}')
    push(folder, "hf://ada/stories")
    assert hub.repos["model", "ada/stories"].files == files_of(folder) != before
    assert not [one for one in hub.asked if one.startswith("PUT /lfs")], "the weights are there already"


@pytest.mark.parametrize(
    ("token", "to", "said"),
    [
        (None, "hf://ada/stories", "needs a token: set HF_TOKEN where trainers run"),
        ("hf_old", "hf://ada/stories", "does not know the token that is set for .*Invalid credentials"),
        (TOKEN, "hf://bob/stories", "may not write to hf://bob/stories .You don't have the rights"),
        (TOKEN, "hf://stories", "is no name of a repository: give hf://user/name"),
        (TOKEN, "hf://ada/two words", "is no name of a repository"),
        (TOKEN, "hf://ada/stories/deep", "is no name of a repository"),
    ],
)
def test_a_hub_that_refuses_is_told_with_what_to_do(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, to: str, said: str
) -> None:
    before = files_of(folder)
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InvalidError, match=said):
        push(folder, to)
    assert hub.repos == {}
    assert files_of(folder) == before


def test_a_card_that_the_hub_cannot_read_stops_the_push_before_the_weights(hub: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("no head")
    with pytest.raises(UnavailableError, match=r"Invalid metadata in README.md.*stays in"):
        push(folder, "hf://ada/stories")
    assert not hub.uploads


def test_a_line_that_goes_dead_leaves_nothing_half_done_and_the_next_push_goes_on(hub: Hub, folder: Path) -> None:
    hub.cut = "/commit/main"
    with pytest.raises(UnavailableError, match=rf"does not take the model .*it stays in {folder}"):
        push(folder, "hf://ada/stories")
    assert hub.repos["model", "ada/stories"].files == {}
    hub.cut, hub.asked[:] = None, []
    push(folder, "hf://ada/stories")
    assert hub.repos["model", "ada/stories"].files == files_of(folder)
    assert not [one for one in hub.asked if one.startswith("PUT /lfs")], "the weights came through before"


def test_a_hub_that_is_not_there_is_told_in_a_sentence(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=rf"does not take the model .*it stays in {folder}"):
        push(folder, "hf://ada/stories")
    assert hub.asked == []


def test_any_store_of_fsspec_has_every_byte(folder: Path) -> None:
    assert push(folder, "memory://models/one") == "memory://models/one"
    memory = fsspec.filesystem("memory")
    stored = {Path(name).name: memory.cat_file(name) for name in memory.ls("/models/one", detail=False)}
    assert stored == files_of(folder)


def test_a_store_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for to in (f"file://{tmp_path}/file/model", "nonsense://x/y"):
        with pytest.raises(UnavailableError, match=r"does not take the model|needs a package"):
            push(tmp_path, to)
