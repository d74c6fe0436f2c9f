"""What is said besides the choice: kept with the label, refused where the run does not ask for it."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from app import answers, labeling
from app.errors import InvalidError
from app.hparams import PRESETS
from app.labeling import Lease
from app.models import Account, Question, Run, Verdict
from tests.factories import make_account, make_comparison, make_run

PAIRS = PRESETS["sentiment-pairs-small"]
ASKED = (Question.WRONG, Question.OVERALL)


@pytest.fixture
def run(session: Session) -> Run:
    """Pairs with strength and two questions."""
    asking = PAIRS.model_copy(update={"labeling": PAIRS.labeling.model_copy(update={"questions": ASKED})})
    made = make_run(session, hparams=asking.model_dump(mode="json"))
    make_comparison(session, made, texts=("a", "b"))
    return made


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session)


@pytest.fixture
def got(session: Session, run: Run, ada: Account) -> Lease:
    return labeling.lease(session, ada.id, run.id, count=1, lease_seconds=60)[0]


def record(
    session: Session, ada: Account, got: Lease, verdict: Verdict = Verdict.BEST, **said: Any
) -> labeling.Recorded:
    choice = got.samples[0][0] if verdict == Verdict.BEST else None
    return labeling.record(session, ada.id, got.comparison_id, verdict=verdict, choice=choice, key=str(uuid4()), **said)


def test_answers_are_kept_with_their_label(session: Session, ada: Account, got: Lease) -> None:
    said: answers.Answers = {Question.WRONG: "  Too long. ", Question.OVERALL: 7}
    label = record(session, ada, got, strength=4, answers=said)
    assert answers.stored(session, {label.label_id}) == {label.label_id: {"wrong": "Too long.", "overall": 7}}


def test_each_revision_has_its_own(session: Session, ada: Account, got: Lease) -> None:
    first = record(session, ada, got, answers={Question.OVERALL: 7})
    tie = labeling.Said(verdict=Verdict.TIE, choice=None, answers={Question.OVERALL: 2})
    second = labeling.revise(session, ada.id, first.label_id, tie, key="k")
    assert answers.stored(session, {first.label_id, second.label_id}) == {
        first.label_id: {"overall": 7},
        second.label_id: {"overall": 2},
    }


@pytest.mark.parametrize(
    "said",
    [
        {"strength": 5},
        {"strength": 0},
        {"strength": 2, "verdict": Verdict.TIE},
        {"answers": {Question.OVERALL: 8}},
        {"answers": {Question.OVERALL: "good"}},
        {"answers": {Question.WRONG: 3}},
        {"answers": {Question.WRONG: " "}},
        {"answers": {Question.WRONG: "a\x00b"}},
        {"answers": {Question.COHERENCE: 3}},
    ],
)
def test_what_makes_no_sense_is_refused(session: Session, ada: Account, got: Lease, said: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        record(session, ada, got, **said)
