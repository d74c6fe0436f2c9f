"""Practice: an attempt goes through all items, enough right ones pass, the answer is never given before."""

from collections import Counter
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import practice
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hparams import PRESETS
from app.models import Account, Label, Run
from app.practice import Material
from tests.factories import make_account, make_run

SMALL = PRESETS["sentiment-small"]
MATERIALS = [
    Material(prompt=f"Prompt {n}", samples=("a", "b", "c", "d"), best=n % 4, explanation=f"Because {n}.")
    for n in range(5)
]


@pytest.fixture
def run(session: Session) -> Run:
    """Practice on, five items, four of which must be right."""
    strict = SMALL.model_copy(update={"labeling": SMALL.labeling.model_copy(update={"practice": True})})
    made = make_run(session, hparams=strict.model_dump(mode="json"))
    practice.equip(session, made, MATERIALS, 4)
    return made


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session)


def attempt(session: Session, run: Run, labeler: Account, wrong: int) -> None:
    """Answer all five, the first `wrong` of them wrongly."""
    for number in range(5):
        question = practice.next_question(session, run, labeler.id)
        assert question is not None
        choice = (question.item.best + (number < wrong)) % 4
        practice.answer(session, question.item.id, labeler.id, attempt=question.attempt, choice=choice)


def test_enough_right_ones_pass(session: Session, run: Run, ada: Account) -> None:
    assert practice.is_due(session, run, ada.id)
    attempt(session, run, ada, wrong=1)
    assert not practice.is_due(session, run, ada.id)
    assert practice.next_question(session, run, ada.id) is None
    assert session.scalars(select(Label)).all() == []


def test_too_few_begin_again(session: Session, run: Run, ada: Account) -> None:
    attempt(session, run, ada, wrong=2)
    stands = practice.standing(session, run, ada.id)
    assert (stands.right, stands.wanted, stands.complete, stands.passed) == (3, 4, True, False)
    question = practice.next_question(session, run, ada.id)
    assert question is not None
    assert (question.attempt, question.item.number) == (2, 1)
    attempt(session, run, ada, wrong=0)
    assert practice.standing(session, run, ada.id).passed


def test_an_item_that_is_added_is_asked_of_those_who_had_passed(session: Session, run: Run, ada: Account) -> None:
    attempt(session, run, ada, wrong=0)
    added = practice.add(session, run.id, ada.id, MATERIALS[0])
    question = practice.next_question(session, run, ada.id)
    assert question is not None
    assert (question.item.id, question.attempt) == (added.id, 1)
    practice.remove(session, added.id, ada.id)
    assert not practice.is_due(session, run, ada.id)


def test_an_answer_stands(session: Session, run: Run, ada: Account) -> None:
    question = practice.next_question(session, run, ada.id)
    assert question is not None

    def choose(choice: int, attempt: int = 1) -> None:
        practice.answer(session, question.item.id, ada.id, attempt=attempt, choice=choice)

    choose(2)
    choose(2)
    with pytest.raises(ConflictError, match="answered this item"):
        choose(question.item.best)
    with pytest.raises(ConflictError, match="attempt is over"):
        choose(2, attempt=2)
    with pytest.raises(InvalidError):
        choose(4)
    with pytest.raises(NotFoundError):
        practice.answer(session, run.id, ada.id, attempt=1, choice=0)
    assert practice.standing(session, run, ada.id).answered == 1


def test_the_best_may_stand_anywhere_and_stays_there(session: Session, run: Run) -> None:
    item = practice.items(session, run.id)[0]
    people = [UUID(int=n) for n in range(200)]
    orders = [practice.order_of(item, one, 1) for one in people]
    assert orders == [practice.order_of(item, one, 1) for one in people]
    places = Counter(order.index(item.best) for order in orders)
    assert sorted(places) == [0, 1, 2, 3]
    assert min(places.values()) > 25  # 50 expected in each; fewer than 26 has a chance of about 1e-5


@pytest.mark.parametrize("name", ["sentiment", "descriptiveness"])
def test_shipped_sets_are_sound(name: str) -> None:
    shipped = practice.shipped(name)
    assert len(shipped) == 10
    for one in shipped:
        assert len(set(one.samples)) == 4
        assert 0 <= one.best < 4
        assert all(text.startswith(" ") for text in one.samples)
        assert len(one.explanation) > 60
    assert any("exual content" in one.explanation for one in shipped)
    assert practice.shipped("tldr") == []


def test_pairs_get_two_samples_and_the_best_among_them(session: Session) -> None:
    run = make_run(session, preset="sentiment-pairs-small")
    practice.equip(session, run, MATERIALS, 2)
    found = [(item.samples, item.best) for item in practice.items(session, run.id)]
    assert found[:2] == [(["a", "b"], 0), (["b", "a"], 0)]


@pytest.mark.parametrize(
    "wrong",
    [{"prompt": " "}, {"samples": ("a",)}, {"samples": ("a", "a")}, {"best": 4}, {"explanation": ""}],
)
def test_an_item_needs_all_its_parts(session: Session, run: Run, ada: Account, wrong: dict[str, object]) -> None:
    whole = {"prompt": "p", "samples": ("a", "b", "c", "d"), "best": 0, "explanation": "e"}
    with pytest.raises(InvalidError):
        practice.add(session, run.id, ada.id, Material(**{**whole, **wrong}))  # type: ignore[arg-type]
