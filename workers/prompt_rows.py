"""From the rows of a source to prompts: pick the text, clean it, join sentences to passages, say what is wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidError
from app.orders import Like, PromptOrder, RowFormat
from workers.corpora import CORPORA, Corpus, clean_text, corpus_of, highlights, info_of
from workers.rows import Row, format_of, read_rows

LONGEST = 1_000_000
"""Characters of a prompt."""
NUL = "\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrompt:
    """A text to import."""

    where: str
    text: str
    reference: str | None = None
    """A human answer to it."""
    info: dict[str, Any] | None = None
    """What the source knows of it: id, title, subreddit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row that gives no prompt."""

    where: str
    cause: str

    def __str__(self) -> str:
        return f"{self.where}: {self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSource:
    """An order, with what is known of its data set filled in."""

    source: str
    format: RowFormat
    subset: str | None
    split: str
    corpus: Corpus | None
    texts: tuple[str, ...]
    references: tuple[str, ...]
    clean: bool
    limit: int | None

    @classmethod
    def of(cls, order: PromptOrder, *, place: str) -> "PromptSource":
        """Args: place: where the rows lie, such as an upload's file."""
        like = order.like or corpus_of(order.source)
        corpus = None if like is None else CORPORA[like]
        place = corpus.ids[0] if corpus and place in set(Like) else place
        form = format_of(place) if order.format == RowFormat.AUTO else order.format
        known = corpus.subset if corpus and form == RowFormat.DATASET and place in corpus.ids else None
        return cls(
            source=place,
            format=form,
            subset=order.subset or known,
            split=order.split,
            corpus=corpus,
            texts=(order.column,) if order.column else corpus.texts if corpus else ("text",),
            references=(order.reference_column,) if order.reference_column else corpus.references if corpus else (),
            clean=order.clean,
            limit=order.limit,
        )

    def prompts(self) -> Iterator[NewPrompt | Fault]:
        """In the order of the source; the same each time. Raises: InvalidError if it cannot be read at all."""
        read = (self._prompt(row) for row in self._rows())
        return _passages(read, self.corpus.passage) if self.corpus and self.corpus.passage else read

    def _rows(self) -> Iterator[Row]:
        rows = read_rows(self.source, self.format, subset=self.subset, split=self.split)
        for number, row in enumerate(rows, start=1):
            yield row
            if number == self.limit:
                return

    def _prompt(self, row: Row) -> NewPrompt | Fault:
        if row.fault is not None:
            return Fault(where=row.where, cause=row.fault)
        text, reference, info = row.value, None, None
        if isinstance(text, dict):
            text = _first(row.value, self.texts)
            reference = _first(row.value, self.references)
            info = info_of(self.corpus, row.value) if self.corpus else None
        if cause := _wrong(text, row.value, self.texts):
            return Fault(where=row.where, cause=cause)
        if reference is not None and (not isinstance(reference, str) or NUL in reference):
            return Fault(where=row.where, cause="its reference is no text, or holds a NUL character")
        reference = reference or (highlights(text) if "@highlight" in text else None)
        cleaned = self._cleaned(text)
        if not cleaned.strip():
            return Fault(where=row.where, cause="nothing is left of it after cleaning")
        return NewPrompt(where=row.where, text=cleaned, reference=reference or None, info=info)

    def _cleaned(self, text: str) -> str:
        if not self.clean:
            return text
        return self.corpus.clean(text) if self.corpus else clean_text(text)


def require_columns(source: PromptSource) -> None:
    """Look at the first good row. Raises: InvalidError if no column of the source can be the text."""
    for row in read_rows(source.source, source.format, subset=source.subset, split=source.split):
        if isinstance(row.value, dict) and not set(source.texts) & set(row.value):
            raise InvalidError(
                f"{source.source} has no column {' or '.join(source.texts)}, but {', '.join(map(str, row.value))}: "
                "name the one that holds the text."
            )
        if row.fault is None:
            return


def _passages(found: Iterable[NewPrompt | Fault], characters: int) -> Iterator[NewPrompt | Fault]:
    """Sentences that follow each other, joined; the last passage may be shorter."""
    where, parts, length = "", list[str](), 0
    for one in found:
        if isinstance(one, Fault):
            yield one
            continue
        where = where or one.where
        parts.append(one.text)
        length += len(one.text) + 1
        if length >= characters:
            yield NewPrompt(where=where, text=" ".join(parts))
            where, parts, length = "", [], 0
    if parts:
        yield NewPrompt(where=where, text=" ".join(parts))


def _first(row: dict[str, Any], columns: Iterable[str]) -> Any:
    return next((row[name] for name in columns if row.get(name) is not None), None)


def _wrong(text: Any, row: Any, columns: tuple[str, ...]) -> str | None:
    if not isinstance(row, str | dict):
        return f"it is {type(row).__name__}, not a string or an object"
    if text is None:
        return f"no {' or '.join(columns)}"
    if not isinstance(text, str):
        return f"its text is {type(text).__name__}, not a string"
    if not text.strip():
        return "its text is blank"
    if NUL in text:
        return "its text holds a NUL character"
    return f"its text is longer than {LONGEST:,} characters" if len(text) > LONGEST else None
