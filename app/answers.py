"""What an answer says: whether it makes sense, and what was said besides the choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import among
from app.errors import InvalidError
from app.hparams import LabelingHParams
from app.kinds import AXES, MOST_RATING, MOST_STRENGTH
from app.models import LabelAnswer, Question, Run, Verdict

Answers = Mapping[Question, int | str]
"""A rating for an axis, words for every other question."""
MOST_CHARACTERS = 4_000
"""Of an answer in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer to a comparison."""

    verdict: Verdict
    choice: UUID | None
    milliseconds: int | None = None
    reason: str | None = None
    strength: int | None = None
    answers: Answers = field(default_factory=dict)


def check(session: Session, said: Said, shown: Sequence[UUID], run_id: UUID) -> None:
    """Raises: InvalidError if the answer contradicts itself, names a sample that was not shown, or answers what this
    run does not ask.
    """
    if said.verdict == Verdict.UNDONE:
        raise InvalidError("Undo an answer by deleting its label.")
    if (said.verdict == Verdict.BEST) != (said.choice is not None):
        raise InvalidError("Name a choice with the verdict `best`, and only then.")
    if said.choice is not None and said.choice not in shown:
        raise InvalidError("The choice is none of the samples that were shown.")
    if said.strength is not None or said.answers:
        _check_extras(said, asked_of(session.get_one(Run, run_id)))


def asked_of(run: Run) -> LabelingHParams:
    """What the labelers of a run are asked."""
    return LabelingHParams.model_validate(run.hparams.get("labeling", {}))


def store(session: Session, label_id: UUID, answers: Answers) -> None:
    """Keep what was said with a label."""
    for question, said in answers.items():
        kept = {"rating": said} if isinstance(said, int) else {"text": said.strip()}
        session.add(LabelAnswer(label_id=label_id, question=question, **kept))


def stored(session: Session, label_ids: set[UUID]) -> dict[UUID, dict[str, int | str]]:
    """What was said with labels, by label and question; labels with which nothing was said are left out."""
    found: dict[UUID, dict[str, int | str]] = {}
    for row in session.scalars(select(LabelAnswer).where(among(LabelAnswer.label_id, label_ids))):
        said = row.text if row.rating is None else row.rating
        assert said is not None, "the table's constraint"
        found.setdefault(row.label_id, {})[row.question.value] = said
    return found


def _check_extras(said: Said, asked: LabelingHParams) -> None:
    if asked.strength and said.strength is not None:
        if said.verdict != Verdict.BEST:
            raise InvalidError("Give a strength with the verdict `best`, and only then.")
        if not 1 <= said.strength <= MOST_STRENGTH:
            raise InvalidError(f"The strength is 1 (barely better) to {MOST_STRENGTH} (far better).")
    for question, answer in said.answers.items():
        if question not in asked.questions:
            raise InvalidError(f"This run does not ask `{question}`.")
        _check_answer(question, answer)


def _check_answer(question: Question, answer: int | str) -> None:
    if question in AXES:
        if not isinstance(answer, int) or not 1 <= answer <= MOST_RATING:
            raise InvalidError(f"Rate `{question}` from 1 to {MOST_RATING}.")
    elif not isinstance(answer, str) or not answer.strip() or len(answer) > MOST_CHARACTERS or "\x00" in answer:
        raise InvalidError(f"Answer `{question}` in words, at most {MOST_CHARACTERS} characters, or leave it out.")
