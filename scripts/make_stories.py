"""Make `app/data/stories.jsonl`: story openings out of hand-written parts and a base model's continuations.

Run from the repository root: `python -m scripts.make_stories --model FOLDER --seed 1 --count 4000`.
The same seed, model and machine give the same file.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from scripts.story_filters import (
    SENTENCE_END,
    Collection,
    SentimentGate,
    follows,
    is_plain_prose,
    is_wanted,
    repeats_itself,
)
from scripts.story_grammar import Grammar, Start, draw_start, load_grammar
from workers.nets.generation import generate
from workers.nets.language_model import LanguageModel
from workers.nets.precision import autocast, configure
from workers.nets.tokenizer import encode_queries, load_tokenizer

OUTPUT = Path(__file__).parents[1] / "app" / "data" / "stories.jsonl"
MIN_TOKENS, MAX_TOKENS = 34, 60
"""Whole opening in tokens of the model: inside the 32 to 64 of a query, with a margin for other tokenizers."""
MIN_START_TOKENS, MAX_START_TOKENS = 19, 44
NEW_TOKENS = 22
TEMPERATURE = 0.7
SAMPLES = 3
"""Continuations of each start; the most probable one that passes the filters is kept."""
BATCH_SIZE = 64
MAX_STARTS_EACH = 20
"""Starts continued per opening asked for before giving up."""
MAX_DRAWS = 200
"""Starts drawn per start continued before giving up."""

Continue = Callable[[list[str], int], list[list[str]]]
"""Texts and a seed to several continuations of each, the most probable first."""
CountTokens = Callable[[str], int]


def load_continuer(folder: Path, threads: int) -> tuple[Continue, CountTokens]:
    """Sampling from the model in `folder`, and its token count of a text."""
    precision = configure("cpu", threads)
    tokenizer = load_tokenizer(folder)
    model = LanguageModel.load(folder)

    def continue_texts(texts: list[str], seed: int) -> list[list[str]]:
        queries, mask = encode_queries(tokenizer, texts, max_tokens=MAX_START_TOKENS)
        with autocast("cpu", precision.bf16):
            found = generate(
                model,
                queries,
                mask,
                response_tokens=NEW_TOKENS,
                temperature=TEMPERATURE,
                generator=torch.Generator().manual_seed(seed),
                samples_per_query=SAMPLES,
            )
        decoded = tokenizer.batch_decode(found.tokens, skip_special_tokens=True)
        order = found.logprobs.sum(dim=1).view(-1, SAMPLES).argsort(dim=1, descending=True).tolist()
        return [[decoded[row * SAMPLES + place] for place in places] for row, places in enumerate(order)]

    return continue_texts, lambda text: len(tokenizer(text)["input_ids"])


def draw_starts(grammar: Grammar, count_tokens: CountTokens, kept: Collection, rng: random.Random) -> list[Start]:
    """A batch of hand-written starts that are not worn out and leave the model room to continue."""
    starts: list[Start] = []
    for _ in range(MAX_DRAWS * BATCH_SIZE):
        start = draw_start(grammar, rng)
        if kept.has_room_for(start.text) and MIN_START_TOKENS <= count_tokens(start.text) <= MAX_START_TOKENS:
            starts.append(start)
        if len(starts) == BATCH_SIZE:
            return starts
    raise RuntimeError("the hand-written parts are used up: write more of them, or ask for fewer openings")


def cut(start: Start, continuation: str, count_tokens: CountTokens, rng: random.Random) -> str | None:
    """`start` and so many whole sentences of `continuation` that the length fits; None if none do or they stray.

    Any length that fits is as likely as another, so that openings differ in length.
    """
    line = continuation.replace("\u2019", "'").split("\n")[0].strip()
    tails = [line[: match.end()] for match in SENTENCE_END.finditer(line)]
    fitting = [tail for tail in tails if MIN_TOKENS <= count_tokens(f"{start.text} {tail}") <= MAX_TOKENS]
    tail = rng.choice(fitting) if fitting else None
    return f"{start.text} {tail}" if tail and follows(start.text, start.pronoun, tail) else None


def make_stories(
    grammar: Grammar, continuer: Continue, count_tokens: CountTokens, *, seed: int, count: int
) -> Iterator[str]:
    """`count` openings that pass every filter, as they are found; of each start at most one.

    A smaller count gives the beginning of the same sequence.

    Raises: RuntimeError if the model's continuations pass too rarely or the parts are used up.
    """
    rng, kept, gate = random.Random(seed), Collection(), SentimentGate()
    for _ in range(MAX_STARTS_EACH * count // BATCH_SIZE + 1):
        starts = draw_starts(grammar, count_tokens, kept, rng)
        continuations = continuer([start.text for start in starts], rng.getrandbits(32))
        for start, options in zip(starts, continuations, strict=True):
            texts = (cut(start, option, count_tokens, rng) for option in options)
            if any(text is not None and is_good(text, gate) and kept.add(text) for text in texts):
                yield kept.texts[-1]
            if len(kept.texts) == count:
                return
    raise RuntimeError(f"only {len(kept.texts)} of {count} openings passed: use a base model of English text")


def is_good(text: str, gate: SentimentGate) -> bool:
    """Whether `text` passes every filter that looks at it alone."""
    return is_plain_prose(text) and is_wanted(text) and not repeats_itself(text) and gate.admits(text)


def write_jsonl(texts: Iterable[str], path: Path) -> None:
    """One `{"text": ...}` a line, UTF-8, written as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts, start=1):
            file.write(json.dumps({"text": text}) + "\n")
            if number % BATCH_SIZE == 0:
                file.flush()
                print(f"{number} openings", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make story openings for the prompts of a run.")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=OUTPUT)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; the result depends on it")
    options = parser.parse_args()
    continuer, count_tokens = load_continuer(options.model, options.threads)
    texts = make_stories(load_grammar(), continuer, count_tokens, seed=options.seed, count=options.count)
    write_jsonl(texts, options.out)


if __name__ == "__main__":
    main()
