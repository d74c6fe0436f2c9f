"""Reads a journal into a ledger and refuses one that contradicts itself."""

from functools import singledispatch

from app.errors import InvalidError
from app.kinds import Verdict
from workers.offline import events
from workers.offline.events import AnyEvent
from workers.offline.journal import Journal
from workers.offline.ledger import Ledger


def read_ledger(journal: Journal) -> Ledger:
    """What the journal adds up to.

    Raises: InvalidError naming the line that is no event, or that cannot have happened after those before it.
    """
    ledger = Ledger()
    for number, event in enumerate(journal.read(), start=1):
        if wrong := _of_its_time(ledger, event) or contradiction(event, ledger):
            raise InvalidError(
                f"{journal.path}, line {number}: {wrong}. Put the file back as it was, or start a new experiment in "
                "another folder."
            )
        ledger.apply(event)
    return ledger


def _of_its_time(ledger: Ledger, event: AnyEvent) -> str | None:
    if (ledger.began is None) != isinstance(event, events.Began):
        return "an experiment begins once, with its first line"
    return None


@singledispatch
def contradiction(event: AnyEvent, ledger: Ledger) -> str | None:  # noqa: ARG001
    """Why this event cannot have happened now; None if it can."""
    return None


@contradiction.register
def _(event: events.Sampled, ledger: Ledger) -> str | None:
    for one in event.comparisons:
        if one.policy is not None and one.policy >= len(ledger.policies):
            return f"there is no policy {one.policy} yet"
        if len(one.samples) < 2:
            return "a comparison has two samples or more"
    return None


@contradiction.register
def _(event: events.Brought, ledger: Ledger) -> str | None:
    if ledger.comparisons:
        return "labels are brought before anything is sampled"
    for number, one in enumerate(event.given):
        if one.best is not None and not 0 <= one.best < len(one.question.samples):
            return f"`best` of the brought label {number} is {one.best}"
    return None


@contradiction.register
def _(event: events.Labeled, ledger: Ledger) -> str | None:
    if not 0 <= event.comparison < len(ledger.comparisons):
        return f"there is no comparison {event.comparison} yet"
    samples = len(ledger.comparisons[event.comparison].samples)
    if (event.verdict is Verdict.BEST) != (event.best is not None):
        return "`best` is given for the verdict `best` and for no other"
    if event.best is not None and not 0 <= event.best < samples:
        return f"`best` is {event.best}, but comparison {event.comparison} has samples 0 to {samples - 1}"
    return None


@contradiction.register
def _(event: events.Scored, ledger: Ledger) -> str | None:
    for number, scores in event.scores.items():
        if not 0 <= number < len(ledger.comparisons):
            return f"there is no comparison {number} yet"
        if len(scores) != len(ledger.comparisons[number].samples):
            return f"comparison {number} has {len(ledger.comparisons[number].samples)} samples, not {len(scores)}"
    return None


@contradiction.register
def _(event: events.Rewarded, ledger: Ledger) -> str | None:
    unlabeled = [number for number in event.labels if number not in ledger.labels]
    return f"comparison {unlabeled[0]} has no label yet" if unlabeled else None


@contradiction.register
def _(event: events.Trained, ledger: Ledger) -> str | None:
    if event.reward_model >= len(ledger.rewards):
        return f"there is no reward model {event.reward_model} yet"
    done = ledger.trainings[-1].update if ledger.trainings else 0
    if event.update != done + len(event.stats) or not event.stats:
        return f"{done} updates and {len(event.stats)} more do not make {event.update}"
    return None


@contradiction.register
def _(event: events.Lost, ledger: Ledger) -> str | None:  # noqa: ARG001
    return None if ledger.trainings else "no PPO job was done whose state could be lost"


@contradiction.register(events.Promoted)
@contradiction.register(events.Held)
def _(event: AnyEvent, ledger: Ledger) -> str | None:  # noqa: ARG001
    return "no policy is a candidate" if ledger.candidate is None else None


@contradiction.register(events.Judged)
@contradiction.register(events.Final)
def _(event: events.Judged | events.Final, ledger: Ledger) -> str | None:
    return None if 0 <= event.policy < len(ledger.policies) else f"there is no policy {event.policy} yet"
