"""Practice: a set of comparisons with known answers that labelers of a run must pass before they get real ones.

An attempt goes through all items in order. It passes when enough are right; otherwise the next attempt begins with the
first item again. An item that is added later is asked of those who had passed, too.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import audit, resources
from app.answers import asked_of
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import PracticeAnswer, PracticeItem, Run

FOLDER = "practice"
MOST_CHARACTERS = 8_000
WHY = "Practise first: a few comparisons with explained answers come before the real ones."


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A practice item before it belongs to a run."""

    prompt: str
    samples: tuple[str, ...]
    best: int
    """Index into `samples`."""
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a labeler is with a run's practice set."""

    total: int
    attempt: int
    """Counts from 1."""
    answered: int
    """In this attempt."""
    right: int
    """Of these."""
    wanted: int
    """Right answers that pass."""

    @property
    def complete(self) -> bool:
        """Whether all items of the attempt are answered."""
        return self.answered == self.total

    @property
    def passed(self) -> bool:
        """Whether nothing is left to do; an empty set is passed."""
        return self.complete and self.right >= self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An item to answer."""

    item: PracticeItem
    attempt: int
    order: tuple[int, ...]
    """Indices of the samples in the order to show, the same each time this labeler meets it in this attempt."""


def shipped(name: str) -> list[Material]:
    """The practice set that comes with a guideline of that name; empty if none does."""
    path = resources.data(FOLDER) / f"{name}.json"
    if not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Material(**{**row, "samples": tuple(row["samples"])}) for row in rows]


def equip(session: Session, run: Run, materials: Sequence[Material], count: int) -> None:
    """Give a new run its set, each item with at most `count` samples, the best among them."""
    for number, one in enumerate(materials, start=1):
        others = [text for place, text in enumerate(one.samples) if place != one.best]
        session.add(
            PracticeItem(
                run_id=run.id,
                number=number,
                prompt=one.prompt,
                samples=[one.samples[one.best], *others[: count - 1]],
                best=0,
                explanation=one.explanation,
            )
        )
    session.flush()


def add(session: Session, run_id: UUID, author_id: UUID, material: Material) -> PracticeItem:
    """One more item, the last.

    Raises: NotFoundError without such a run, InvalidError unless it has a prompt, 2 to 9 different samples, one of them
        the best, and an explanation.
    """
    texts = [material.prompt, *material.samples, material.explanation]
    if any(not text.strip() or len(text) > MOST_CHARACTERS or "\x00" in text for text in texts):
        raise InvalidError(f"Write a prompt, samples and an explanation, each in at most {MOST_CHARACTERS} characters.")
    if not 2 <= len(set(material.samples)) == len(material.samples) <= 9:
        raise InvalidError("Give 2 to 9 samples that differ.")
    if not 0 <= material.best < len(material.samples):
        raise InvalidError("Say which of the samples is the best.")
    if session.scalar(select(Run).where(Run.id == run_id).with_for_update(key_share=True)) is None:
        raise NotFoundError("There is no such run.")
    last = session.scalar(select(func.max(PracticeItem.number)).where(PracticeItem.run_id == run_id)) or 0
    made = PracticeItem(
        run_id=run_id,
        number=last + 1,
        prompt=material.prompt,
        samples=list(material.samples),
        best=material.best,
        explanation=material.explanation,
    )
    session.add(made)
    session.flush()
    audit.record(session, author_id, "practice.added", run_id=run_id, number=made.number)
    return made


def remove(session: Session, item_id: UUID, author_id: UUID) -> UUID:
    """Take an item out, with its answers; the run it was of. Raises: NotFoundError."""
    item = _item(session, item_id)
    run_id, number = item.run_id, item.number
    session.execute(delete(PracticeItem).where(PracticeItem.id == item_id))
    audit.record(session, author_id, "practice.removed", run_id=run_id, number=number)
    return run_id


def items(session: Session, run_id: UUID) -> Sequence[PracticeItem]:
    """The set, in order."""
    query = select(PracticeItem).where(PracticeItem.run_id == run_id)
    return session.scalars(query.order_by(PracticeItem.number)).all()


def standing(session: Session, run: Run, account_id: UUID) -> Standing:
    """How far a labeler is."""
    total = session.scalar(select(func.count()).where(PracticeItem.run_id == run.id)) or 0
    row = session.execute(
        select(
            PracticeAnswer.attempt,
            func.count(),
            func.count().filter(PracticeAnswer.choice == PracticeItem.best),
        )
        .join(PracticeItem, PracticeItem.id == PracticeAnswer.item_id)
        .where(PracticeItem.run_id == run.id, PracticeAnswer.account_id == account_id)
        .group_by(PracticeAnswer.attempt)
        .order_by(PracticeAnswer.attempt.desc())
        .limit(1)
    ).first()
    attempt, answered, right = row if row else (1, 0, 0)
    wanted = -int(-asked_of(run).pass_mark * total // 1)  # rounded up
    return Standing(total=total, attempt=attempt, answered=answered, right=right, wanted=wanted)


def is_due(session: Session, run: Run, account_id: UUID) -> bool:
    """Whether a labeler must practise before they get comparisons of this run."""
    return asked_of(run).practice and not standing(session, run, account_id).passed


def next_question(session: Session, run: Run, account_id: UUID) -> Question | None:
    """The first item not answered in this attempt, or of the next one if this failed; None once they passed."""
    stands = standing(session, run, account_id)
    if stands.passed:
        return None
    attempt = stands.attempt + stands.complete
    answered = select(PracticeAnswer.item_id).where(
        PracticeAnswer.account_id == account_id, PracticeAnswer.attempt == attempt
    )
    query = select(PracticeItem).where(PracticeItem.run_id == run.id, PracticeItem.id.not_in(answered))
    item = session.scalars(query.order_by(PracticeItem.number).limit(1)).one()
    return Question(item=item, attempt=attempt, order=order_of(item, account_id, attempt))


def order_of(item: PracticeItem, account_id: UUID, attempt: int) -> tuple[int, ...]:
    """The order in which a labeler sees an item's samples."""
    places = list(range(len(item.samples)))
    random.Random(f"{item.id} {account_id} {attempt}").shuffle(places)
    return tuple(places)


def answer(session: Session, item_id: UUID, account_id: UUID, *, attempt: int, choice: int) -> PracticeItem:
    """Write down a choice, an index into the item's samples; the item with its answer.

    Said again it changes nothing. Raises: NotFoundError, InvalidError if there is no such sample, ConflictError if the
    attempt is not the one that stands or the item was answered otherwise in it.
    """
    item = _item(session, item_id)
    if not 0 <= choice < len(item.samples):
        raise InvalidError(f"Choose one of the {len(item.samples)} samples.")
    mine = (PracticeAnswer.item_id == item_id, PracticeAnswer.account_id == account_id)
    before = session.scalar(select(PracticeAnswer.choice).where(*mine, PracticeAnswer.attempt == attempt))
    if before is not None and before != choice:
        raise ConflictError("You have answered this item; go on with the next.")
    if before is None:
        stands = standing(session, session.get_one(Run, item.run_id), account_id)
        if stands.passed or attempt != stands.attempt + stands.complete:
            raise ConflictError("This attempt is over; go on with the next item.")
        session.add(PracticeAnswer(item_id=item_id, account_id=account_id, attempt=attempt, choice=choice))
        session.flush()
    return item


def _item(session: Session, item_id: UUID) -> PracticeItem:
    found = session.get(PracticeItem, item_id)
    if found is None:
        raise NotFoundError("There is no such practice item.")
    return found
