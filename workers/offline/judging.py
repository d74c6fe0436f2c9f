"""The known reward of an experiment; what a classifier learned from is kept beside the journal."""

from pathlib import Path

from app.rules import Score
from workers.judges import load_judge, rated_file

NAME = "rated.jsonl"


def keep(folder: Path, labeler: str) -> None:
    """Copy the rated texts of a classifier, whole or not at all; other judges have none."""
    source = rated_file(labeler)
    if source is not None:
        written = folder / f".{NAME}.tmp"
        written.write_bytes(source.read_bytes())
        written.rename(folder / NAME)


def kept(folder: Path, labeler: str) -> Score:
    """The judge of that name; a classifier learns from the texts that `keep` put by.

    Raises: InvalidError if there is no such judge or the texts are not what they must be.
    """
    mine = folder / NAME
    return load_judge(labeler, rated=mine if mine.exists() else None)


def same(folder: Path, labeler: str) -> bool:
    """Whether the rated texts still say what was put by; the labels follow from them."""
    source, mine = rated_file(labeler), folder / NAME
    return source is None or not mine.exists() or source.read_bytes() == mine.read_bytes()
