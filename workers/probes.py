"""Probes of a reward model: pairs of texts of which one knows which is better, because it was changed for that.

Source: Stiennon et al. 2020, section 4.3 and appendix G.6: edited summaries, shuffled sentences, a title copied twice.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app import quality
from workers.plans import ProbePlan
from workers.sampler import Decoder

Name = Literal["edited_better", "shuffled_sentences", "shuffled_words", "copied_prompt"]
NAMES: tuple[Name, ...] = ("edited_better", "shuffled_sentences", "shuffled_words", "copied_prompt")
EXAMPLES = 3
LEAST_WORDS = 4

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two texts to one prompt."""

    name: Name
    prompt: str
    better: tuple[int, ...]
    """Token ids."""
    worse: tuple[int, ...]
    better_text: str
    worse_text: str


def pairs(plan: ProbePlan, encode: Encode, decoder: Decoder) -> list[Pair]:
    """All pairs that can be made; a sample that cannot be changed in a way is left out of that probe."""
    rng = random.Random(plan.seed)
    made: list[Pair] = []
    for one in plan.edited:
        sample = _text(decoder, one.sample)
        better = sample[: len(sample) - len(sample.lstrip())] + one.better.strip()  # begins as samples do
        made += _pair("edited_better", one.prompt, encode(better), one.sample, better, sample)
    for stored in plan.samples:
        text = _text(decoder, stored.token_ids)
        own = encode(text)  # the changed text is encoded too, so that nothing else tells them apart
        for name, change in (("shuffled_sentences", shuffle_sentences), ("shuffled_words", shuffle_words)):
            changed = change(text, rng)
            if changed is not None:
                made += _pair(name, stored.prompt, own, encode(changed), text, changed)  # type: ignore[arg-type]
        copied = copy_of(encode(stored.prompt), len(stored.token_ids))
        made += _pair("copied_prompt", stored.prompt, stored.token_ids, copied, text, _text(decoder, copied))
    return made


def shuffle_sentences(text: str, rng: random.Random) -> str | None:
    """The sentences of a text in another order; None if it has one, or all are alike."""
    space, body = _split_space(text)
    found = _shuffled(re.split(r"(?<=[.!?])\s+", body.strip()), rng)
    return None if found is None else space + " ".join(found)


def shuffle_words(text: str, rng: random.Random) -> str | None:
    """The words of a text in another order, its last mark at its end; None if it has too few, or all are alike."""
    space, body = _split_space(text)
    ended = re.fullmatch(r"(.*?)([.!?]*)", body.strip(), re.DOTALL)
    assert ended is not None
    words = ended[1].split()
    found = _shuffled(words, rng) if len(words) >= LEAST_WORDS else None
    return None if found is None else space + " ".join(found) + ended[2]


def copy_of(prompt: Sequence[int], length: int) -> tuple[int, ...]:
    """`length` tokens of the prompt, from its beginning and again where it is short."""
    return tuple(prompt[place % len(prompt)] for place in range(length)) if prompt else ()


def report(made: Sequence[Pair], scores: Sequence[float]) -> list[dict[str, Any]]:
    """How often the better text scores higher, an equal score being half.

    Args:
        scores: of the better and the worse text of each pair in turn.
    Returns: JSON, one of each probe: `name`, `n`; with any pair `share` with its 95 % interval as value, low, high;
        `difference`, the mean of the better text's score less the other's, the same way (None of one pair); `examples`,
        the first few.
    """
    by_name: dict[Name, list[tuple[Pair, float, float]]] = {name: [] for name in NAMES}
    for place, pair in enumerate(made):
        by_name[pair.name].append((pair, scores[2 * place], scores[2 * place + 1]))
    return [_report(name, found) for name, found in by_name.items()]


def _report(name: Name, found: Sequence[tuple[Pair, float, float]]) -> dict[str, Any]:
    if not found:
        return {"name": name, "n": 0}
    differences = [better - worse for _, better, worse in found]
    hits = sum(one > 0 for one in differences) + sum(one == 0 for one in differences) // 2
    share = quality.share(hits, len(found))
    mean = quality.mean_interval(differences) if len(found) > 1 else None
    return {
        "name": name,
        "n": len(found),
        "share": {"value": share.value, "low": share.low, "high": share.high},
        "difference": mean and {"value": mean.mean, "low": mean.low, "high": mean.high},
        "examples": [
            {
                "prompt": pair.prompt,
                "better": pair.better_text,
                "worse": pair.worse_text,
                "score_better": better,
                "score_worse": worse,
            }
            for pair, better, worse in found[:EXAMPLES]
        ],
    }


def _pair(
    name: Name, prompt: str, better: Sequence[int], worse: Sequence[int], better_text: str, worse_text: str
) -> list[Pair]:
    """None where a side is empty or both are the same."""
    if not better or not worse or tuple(better) == tuple(worse):
        return []
    pair = Pair(
        name=name,
        prompt=prompt,
        better=tuple(better),
        worse=tuple(worse),
        better_text=better_text,
        worse_text=worse_text,
    )
    return [pair]


def _shuffled(parts: Sequence[str], rng: random.Random) -> list[str] | None:
    if len(set(parts)) < 2:
        return None
    drawn = list(parts)
    while drawn == list(parts):
        rng.shuffle(drawn)
    return drawn


def _split_space(text: str) -> tuple[str, str]:
    body = text.lstrip()
    return text[: len(text) - len(body)], body


def _text(decoder: Decoder, ids: Sequence[int]) -> str:
    return decoder.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
