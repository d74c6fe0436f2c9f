"""A file of labels as questions about texts and token ids of the tokenizer that the run uses."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.errors import InvalidError
from app.kinds import Verdict
from workers.label_rows import Ids, LabelRow, parse
from workers.models import ensure_base_model
from workers.nets.tokenizer import load_tokenizer, token_ids
from workers.prompt_rows import Fault
from workers.rows import read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text and its token ids."""

    text: str
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLabel:
    """One label of a file."""

    where: str
    number: int
    """Of the record in its file, from 1."""
    row: LabelRow
    prompt: str
    samples: tuple[Text, ...]


class Remapper:
    """Published token ids to texts, and texts to the token ids of the run's tokenizer."""

    def __init__(self, own: PreTrainedTokenizerBase, published: PreTrainedTokenizerBase | None) -> None:
        """Args: published: made the ids of files that hold ids; None: there are none."""
        self.own = own
        self.published = published
        self.same = published is not None and published.get_vocab() == own.get_vocab()

    def text(self, value: str | Ids) -> Text:
        """Raises: ValueError for ids outside of the vocabulary or a text without tokens."""
        if isinstance(value, str):
            ids = tuple(token_ids(self.own, value))
            text = value
        else:
            text = self._decoded(value)
            ids = value if self.same else tuple(token_ids(self.own, text))
        if not ids or not text.strip():
            raise ValueError("a sample has no text left")
        return Text(text=text, ids=ids)

    def prompt(self, value: str | Ids) -> str:
        """Raises: ValueError for ids outside of the vocabulary."""
        return value if isinstance(value, str) else self._decoded(value)

    def _decoded(self, ids: Ids) -> str:
        if self.published is None:
            raise ValueError("it holds token ids: name the tokenizer that made them")
        if max(ids) >= len(self.published):
            raise ValueError(f"token id {max(ids)} is outside of the vocabulary of {len(self.published)}")
        text: str = self.published.decode(ids, clean_up_tokenization_spaces=False)
        return text


def read_labels(source: str, remapper: Remapper, *, samples: int) -> Iterator[ReadLabel | Fault]:
    """The labels of a file, each about `samples` samples; pairs that share prompt and chosen text become one.

    Superseded revisions and skips of our own export are left out: nobody stands by them.
    """
    for number, (where, one) in enumerate(_grouped(source, samples), start=1):
        if isinstance(one, str):
            yield Fault(where=where, cause=one)
            continue
        if one.kept.get("superseded") or one.verdict in (Verdict.SKIP, Verdict.UNDONE):
            continue
        if len(one.samples) != samples:
            cause = f"it compares {len(one.samples)} samples, but the run {samples}"
            yield Fault(where=where, cause=cause)
            continue
        try:
            texts = tuple(remapper.text(sample) for sample in one.samples)
            row, prompt = one, remapper.prompt(one.prompt)
            if not isinstance(one.prompt, str) and one.prompt != tuple(token_ids(remapper.own, prompt)):
                row = replace(one, kept=one.kept | {"query": list(one.prompt)})  # its text alone gives other ids
            yield ReadLabel(where=where, number=number, row=row, prompt=prompt, samples=texts)
        except ValueError as error:
            yield Fault(where=where, cause=str(error))


def digest_of_file(source: str) -> str | None:
    """Hex sha256 of a file; None for what is none."""
    path = Path(source)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _grouped(source: str, samples: int) -> Iterator[tuple[str, LabelRow | str]]:
    """Rows; where a run compares more than two, pairs in a row with the same prompt and chosen text are one."""
    held: tuple[str, LabelRow] | None = None
    for where, one in _parsed(source):
        joined = _joined(held[1], one, samples) if held is not None and isinstance(one, LabelRow) else None
        if joined is not None and held is not None:
            held = (held[0], joined)
            continue
        if held is not None:
            yield held
        held = None
        if isinstance(one, LabelRow) and samples > 2 and one.kept.get("form") == "pair":
            held = (where, one)
        else:
            yield where, one
    if held is not None:
        yield held


def _joined(first: LabelRow, second: LabelRow, samples: int) -> LabelRow | None:
    same = (second.kept.get("form"), second.prompt, second.samples[0]) == ("pair", first.prompt, first.samples[0])
    if not same or len(first.samples) >= samples:
        return None
    return replace(first, samples=(*first.samples, second.samples[1]))


def _parsed(source: str) -> Iterator[tuple[str, LabelRow | str]]:
    for row in read_rows(source):
        if row.fault is not None:
            yield row.where, row.fault
            continue
        try:
            yield row.where, parse(row.value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield row.where, str(error) if isinstance(error, ValueError) else f"not what its keys promise ({error!r})"


def remapper(base_model: str, published: str | None, home: Path) -> Remapper:
    """For files of labels that go to a run of this base model.

    Args:
        published: tokenizer of files that hold ids; None: the base model's own.
    Raises: ModelUnavailableError; InvalidError if there is no such tokenizer.
    """
    own = load_tokenizer(ensure_base_model(base_model, home))
    return Remapper(own, own if published is None else load_published(published, home))


def load_published(name: str, home: Path) -> PreTrainedTokenizerBase:
    """A tokenizer by folder or hub id, weights not needed. Raises: InvalidError if there is none."""
    local = next((path for path in (Path(name).expanduser(), home / "models" / name) if path.is_dir()), None)
    try:
        return load_tokenizer(local) if local else AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InvalidError(f"There is no tokenizer {name}: give a folder or a hub id that can be reached.") from error
