"""The prompts of an experiment, fixed when it begins."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import InvalidError
from app.kinds import Split
from app.texts import digest_of, read_file, split_of

NAME = "prompts.jsonl"
LEAST = {Split.TRAIN: 16, Split.VALID: 1, Split.TEST: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPool:
    """Different prompts by split, in the order of their digests."""

    by_split: dict[Split, tuple[str, ...]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "PromptPool":
        """Split texts for ever by their hash; equal ones are one.

        Raises: InvalidError if a split has too few.
        """
        by_digest: dict[str, str] = {}
        for text in texts:
            by_digest.setdefault(digest_of(text), text)
        found = {split: tuple(by_digest[d] for d in sorted(by_digest) if split_of(d) is split) for split in Split}
        for split, least in LEAST.items():
            if len(found[split]) < least:
                raise InvalidError(
                    f"{len(by_digest)} different prompts leave {len(found[split])} in the {split} split, which needs "
                    f"{least}: give more."
                )
        return cls(by_split=found)

    def pick(self, split: Split, count: int, *, asked: Counter[str], seed: int) -> list[str]:
        """At most `count` prompts of a split: those asked least often, ties by a hash of seed and text."""

        def rank(text: str) -> tuple[int, str]:
            return asked[text], hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()

        return sorted(self.by_split[split], key=rank)[:count]


def keep(folder: Path, texts: Sequence[str]) -> None:
    """Write the prompts beside the journal, whole or not at all."""
    written = folder / f".{NAME}.tmp"
    written.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    written.rename(folder / NAME)


def kept(folder: Path) -> PromptPool:
    """The prompts that `keep` wrote."""
    return PromptPool.of(read_file(folder / NAME))
