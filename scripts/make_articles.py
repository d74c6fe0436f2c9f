"""Small news articles, each with a summary in one sentence, to try the summarization tasks without a download.

Run from the repository root: `python -m scripts.make_articles --count 80 --seed 1 > articles.jsonl`.
The same seed gives the same file. What the summary says is spread over the article, so that its opening will not do.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

TOWNS = (
    *("Alderbrook", "Brinton", "Castle Hill", "Dunmore", "Eastport", "Fairhaven", "Glenwood", "Harrow Bay"),
    *("Inverley", "Juniper Falls", "Kingsford", "Lowmarsh", "Merrivale", "Northgate", "Oakhollow", "Penrose"),
)
NAMES = (
    "Anna Weiss",
    "Tom Okafor",
    "Maria Lindt",
    "Samuel Reyes",
    "Grace Holm",
    "Peter Novak",
    "Ines Duarte",
    "Leo Marsh",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
WEATHER = ("after a week of rain", "on a cold and windy morning", "under a clear sky", "while fog lay over the valley")
ASIDES = (
    "Traffic was slow for most of the morning.",
    "A school class that passed by waved at the crowd.",
    "The bakery next door handed out warm bread.",
    "Two dogs chased each other across the square.",
    "Older residents said they had never seen so many people there.",
    "A brass band played until noon.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens in towns: what was decided, why, what it costs, and what people think of it."""

    what: str
    """After "the town of X": a past tense."""
    why: str
    """After "because"."""
    thing: str
    unit: str
    """What the number counts."""
    worry: str


EVENTS = (
    Event(
        what="closed its old bridge",
        why="inspectors found deep cracks in two pillars",
        thing="the bridge",
        unit="months",
        worry="the long way around the river",
    ),
    Event(
        what="opened a library in the former station",
        why="the last train had stopped there ten years ago",
        thing="the library",
        unit="thousand books",
        worry="the lack of places to park",
    ),
    Event(
        what="banned cars from its market square",
        why="the air there was the worst in the county",
        thing="the ban",
        unit="streets",
        worry="fewer customers in the shops",
    ),
    Event(
        what="planted trees along every main road",
        why="last summer was the hottest on record",
        thing="the planting",
        unit="hundred trees",
        worry="leaves on the pavement in autumn",
    ),
    Event(
        what="saved its swimming pool from closing",
        why="a collection raised the money for a new roof",
        thing="the pool",
        unit="thousand visitors a year",
        worry="higher prices for a ticket",
    ),
    Event(
        what="lost power for a whole night",
        why="a falling tree tore down the main line",
        thing="the blackout",
        unit="hundred homes",
        worry="the next storm",
    ),
    Event(
        what="chose a nurse as its new mayor",
        why="voters were tired of an old quarrel in the council",
        thing="the election",
        unit="hundred votes",
        worry="promises that cost too much",
    ),
    Event(
        what="began to run its buses all night",
        why="workers of the new hospital could not get home",
        thing="the night line",
        unit="stops",
        worry="noise under their windows",
    ),
)


def articles(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Different articles, at most one for each event of each town.

    Raises: ValueError if more are asked for.
    """
    places = [(town, event) for town in TOWNS for event in EVENTS]
    if count > len(places):
        raise ValueError(f"There are {len(places)} articles to be written, not {count}.")
    rng = random.Random(seed)
    for number, (town, event) in enumerate(rng.sample(places, count)):
        yield _article(number, town, event, rng)


def _article(number: int, town: str, event: Event, rng: random.Random) -> dict[str, str]:
    day, name, size = rng.choice(DAYS), rng.choice(NAMES), rng.randrange(3, 40)
    crowd, (first, second) = rng.randrange(20, 400), rng.sample(ASIDES, 2)
    body = [
        f"About {crowd} people came to the town hall of {town} on {day} {rng.choice(WEATHER)}.",
        first,
        f"They had come to hear what {name} would say about {event.thing}, which has been in the talk for weeks.",
        f"In the end it was short: the town {event.what}.",
        second,
        f"It had to be done, {name.split()[0]} explained, because {event.why}.",
        f"The plan counts {size} {event.unit}, twice as many as anybody had expected.",
        f"Not all were happy. Some neighbors fear {event.worry}, and want to be asked again next year.",
    ]
    summary = f"{town} {event.what} because {event.why}."
    return {"id": f"article-{number}", "article": " ".join(body), "summary": summary}


def main() -> None:
    """Print them, one JSON object per line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_articles", description=__doc__)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for one in articles(asked.count, asked.seed):
        print(json.dumps(one, ensure_ascii=False))


if __name__ == "__main__":
    main()
