"""The public data sets of the paper's tasks: their ids, their columns, and how their texts are cleaned.

Source: Ziegler et al. 2019, section 3; lm-human-preferences datasets/{books,cnndm,tldr}.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ftfy

from app.orders import Like

SENTENCES_TO_PASSAGES = 2_000
"""Characters: some 450 tokens, so that a query of 32 to 64 finds its first and last sentence end."""
HEAD, PLACE = 1_000, 200
"""Characters in which a stamp, and a place with its agency, stand: further down they are quoted."""
_CURLY = {"‘": "'", "’": "'", "“": '"', "”": '"'}
_BYLINE = re.compile(r"\ABy\b[^\n]{0,80}\n[^\n]*(?:\n|\Z)")
_DATELINE = re.compile(r"\A.*\(CNN\)[ \t]+--[ \t]*", re.DOTALL)
_CNN = re.compile(r"\A.{0,95}?\(CNN\)[ \t]*(?:--)?", re.DOTALL)
_AND_NAME = re.compile(r"\Aand \w+\n")
_UPDATED = re.compile(r"\A.*UPDATED:\s+\d{2}:\d{2}[^\n]*20\d{2}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A data set whose form is known."""

    ids: tuple[str, ...]
    """Hub ids; the first is the one that is meant by its short name."""
    subset: str | None = None
    texts: tuple[str, ...]
    """Columns that may hold the text, the first that is there counts."""
    references: tuple[str, ...] = ()
    """Columns that may hold a human answer."""
    info: tuple[str, ...] = ()
    """Columns that are kept beside the prompt."""
    clean: Callable[[str], str]
    passage: int = 0
    """Rows are sentences and are joined to texts of so many characters; 0: each row is a text."""


def clean_text(text: str) -> str:
    """Broken encodings mended, three or more line ends become two, no space around it."""
    return re.sub(r"\n{3,}", "\n\n", ftfy.fix_text(text)).strip()


def clean_news(text: str) -> str:
    """An article without byline, place and agency, UPDATED stamp and highlights, its quotation marks straight."""
    text = _BYLINE.sub("", text)
    text = _CNN.sub("", _DATELINE.sub("", text[:PLACE]) + text[PLACE:])
    text = _AND_NAME.sub("", text.lstrip())
    text = _UPDATED.sub("", text[:HEAD]) + text[HEAD:]
    for curly, straight in _CURLY.items():
        text = text.replace(curly, straight)
    return clean_text(text).split("@highlight")[0].strip()


def highlights(story: str) -> str | None:
    """The summary within an original .story file: the lines after its @highlight marks; None if it has none."""
    found = [part.strip() for part in story.split("@highlight")[1:]]
    lines = [line if line[-1] in ".!?'\"`)" else f"{line}." for line in found if line]
    return "\n".join(lines) or None


CORPORA: dict[Like, Corpus] = {
    Like.BOOKS: Corpus(
        ids=("rojagtap/bookcorpus", "bookcorpus/bookcorpus", "bookcorpus"),
        texts=("text",),
        clean=clean_text,
        passage=SENTENCES_TO_PASSAGES,
    ),
    Like.TLDR: Corpus(
        ids=(
            "vwxyzjn/summarize_from_feedback_tldr_3_filtered",
            "vwxyzjn/summarize_from_feedback_tldr_3_filtered_oai_preprocessing_1706381144",
            "webis/tldr-17",
        ),
        texts=("post", "content"),
        references=("summary",),
        info=("id", "title", "subreddit"),
        clean=clean_text,
    ),
    Like.CNNDM: Corpus(
        ids=("abisee/cnn_dailymail", "ccdv/cnn_dailymail", "cnn_dailymail"),
        subset="3.0.0",
        texts=("article",),
        references=("highlights",),
        info=("id",),
        clean=clean_news,
    ),
}


def corpus_of(source: str) -> Like | None:
    """The corpus that a short name or hub id means; None if it is none of them."""
    if source in set(Like):
        return Like(source)
    return next((like for like, corpus in CORPORA.items() if source in corpus.ids), None)


def info_of(corpus: Corpus, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept beside the prompt."""
    return {name: row[name] for name in corpus.info if row.get(name) not in (None, "")} or None
