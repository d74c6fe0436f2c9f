"""What is asked of people besides the choice, and what they must know first."""

from pydantic import field_validator

from app.hparams.base import Fraction, HParams
from app.kinds import Question


class LabelingHParams(HParams):
    """What labelers meet on their page."""

    guideline: str | None = None
    """Name of the shipped guideline that the run starts with; None: the task's question is the guideline."""
    strength: bool = False
    """Pairs alone: how much better the better one is, in four steps either way with the tie between them."""
    questions: tuple[Question, ...] = ()
    """Asked with each answer and stored with the label; labelers may leave them empty."""
    practice: bool = False
    """Labelers must pass the run's practice set before they get comparisons."""
    pass_mark: Fraction = 0.8
    """Share of the practice items that must be right in one attempt."""

    @field_validator("questions")
    @classmethod
    def _each_once(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        if len(set(questions)) != len(questions):
            raise ValueError("ask each question once")
        return questions
