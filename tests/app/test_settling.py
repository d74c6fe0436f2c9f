"""A settled count is the count: whatever people do in whatever order, and whenever the loop looks."""

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import exclusions, labeling, leasing, people, settling
from app.answers import Said
from app.db import SessionFactory
from app.errors import ConflictError
from app.models import Account, Comparison, ComparisonState, Exclusion, Label, Prompt, Role, Run, Split, Verdict
from app.usable import count_training
from tests.factories import make_account, make_comparison, make_prompt, make_run

USED = (Verdict.BEST, Verdict.TIE)
STEPS = 120


def counted(session: Session, *, surplus: bool) -> int:
    """The definition, one row after the other."""
    session.flush()
    session.expire_all()
    left_out = {one.labeler_id for one in session.scalars(select(Exclusion)) if one.lifted_at is None}
    left_out |= {one.id for one in session.scalars(select(Account)) if one.disabled_at is not None}
    newest: dict[Any, dict[Any, Label]] = defaultdict(dict)
    for label in session.scalars(select(Label).order_by(Label.revision)):
        newest[label.comparison_id][label.labeler_id] = label
    count = 0
    for comparison in session.scalars(select(Comparison)):
        trains = session.get_one(Prompt, comparison.prompt_id).split == Split.TRAIN
        if trains and comparison.state != ComparisonState.FLAGGED:
            count += any(
                label.verdict in USED and (surplus or not label.surplus) and label.labeler_id not in left_out
                for label in newest[comparison.id].values()
            )
    return count


class Plant:
    """A run of one or two answers per comparison, three labelers, and what they and the others may do next."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session, self.random = session, random.Random(seed)
        self.run: Run = make_run(session)
        self.boss = make_account(session, "Eve", Role.OPERATOR)
        self.labelers = [make_account(session, name) for name in ("Ada", "Bob", "Cem")]
        self.acts: list[Callable[[Account], object]] = [
            *[self.answer] * 8, *[self.revise] * 4, *[self.undo] * 2, *[self.supply] * 2, self.flag, self.unflag,
            self.exclude, *[self.include] * 2, self.disable, *[self.enable] * 2,
        ]  # fmt: skip

    def act(self) -> None:
        """One thing, at random; what is refused is no change."""
        try:
            with self.session.begin_nested():
                self.random.choice(self.acts)(self.random.choice(self.labelers))
        except ConflictError:
            pass

    def supply(self, _: Account) -> None:
        split = self.random.choice([Split.TRAIN, Split.TRAIN, Split.VALID])
        wanted = self.random.choice([1, 1, 2])
        make_comparison(self.session, self.run, prompt=make_prompt(self.session, split=split), wanted=wanted)

    def answer(self, labeler: Account) -> None:
        held = leasing.lease(self.session, labeler.id, self.run.id, count=3, lease_seconds=600)
        if held:
            self._say(labeler, self.random.choice(held))

    def flag(self, labeler: Account) -> None:
        held = leasing.lease(self.session, labeler.id, self.run.id, count=1, lease_seconds=600)
        if held and self.random.random() < 0.3:
            labeling.flag(self.session, labeler.id, held[0].comparison_id, "odd")

    def unflag(self, _: Account) -> None:
        flagged = select(Comparison.id).where(Comparison.state == ComparisonState.FLAGGED).order_by(Comparison.id)
        if found := self.session.scalars(flagged).all():
            labeling.unflag(self.session, self.random.choice(found), self.boss.id)

    def revise(self, labeler: Account) -> None:
        mine = self._mine(labeler)
        if mine is not None:
            verdict = self.random.choice([Verdict.TIE, Verdict.NONE])
            labeling.revise(self.session, labeler.id, mine.id, Said(verdict=verdict, choice=None), key=self._key())

    def undo(self, labeler: Account) -> None:
        mine = self._mine(labeler)
        if mine is not None:
            labeling.undo(self.session, labeler.id, mine.id, lease_seconds=600)

    def exclude(self, labeler: Account) -> None:
        exclusions.exclude(self.session, self.run.id, labeler.id, self.boss.id, "odd")

    def include(self, labeler: Account) -> None:
        exclusions.include(self.session, self.run.id, labeler.id, self.boss.id)

    def disable(self, labeler: Account) -> None:
        people.disable(self.session, self.boss, labeler.id)

    def enable(self, labeler: Account) -> None:
        people.enable(self.session, self.boss, labeler.id)

    def _say(self, labeler: Account, lease: leasing.Lease) -> None:
        verdict = self.random.choice([Verdict.BEST, Verdict.TIE, Verdict.NONE, Verdict.SKIP])
        choice = lease.samples[0][0] if verdict is Verdict.BEST else None
        labeling.record(self.session, labeler.id, lease.comparison_id, verdict=verdict, choice=choice, key=self._key())

    def _mine(self, labeler: Account) -> Label | None:
        given = self.session.scalars(select(Label).where(Label.labeler_id == labeler.id).order_by(Label.id)).all()
        return self.random.choice(given) if given else None

    def _key(self) -> str:
        return f"{self.random.random()}"


@pytest.mark.parametrize(("seed", "surplus"), [(0, False), (1, True)])
def test_a_look_now_and_then_never_changes_the_count(session: Session, seed: int, surplus: bool) -> None:
    plant = Plant(session, seed)
    for _ in range(6):
        plant.supply(plant.labelers[0])
    settled = 0
    for _ in range(STEPS):
        plant.act()
        if plant.random.random() < 0.3:
            settled += settling.settle(session, plant.run.id, USED, surplus=surplus, most=4)
        assert count_training(session, plant.run.id, USED, surplus=surplus) == counted(session, surplus=surplus)
    assert settled > STEPS / 10  # many were forgotten and looked at again


def test_what_is_settled_is_not_looked_at_again_and_what_waits_is_left(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    for wanted in (1, 2, 1):
        make_comparison(session, run, wanted=wanted)
    for number, lease in enumerate(leasing.lease(session, ada.id, run.id, count=2, lease_seconds=60)):
        labeling.record(session, ada.id, lease.comparison_id, verdict=Verdict.TIE, choice=None, key=f"{number}")
    assert settling.settle(session, run.id, USED) == 2
    assert settling.settle(session, run.id, USED) == 0
    # Closed; one of two answers is there; nobody touched it.
    assert session.scalars(select(Comparison.trains).order_by(Comparison.created_at)).all() == [True, None, False]
    assert settling.unsettle(session, ada.id) == 1
    assert settling.unsettle(session, ada.id) == 0


def test_while_somebody_is_left_out_no_look_is_on_its_way(session_factory: SessionFactory) -> None:
    """Else it could settle, by labels that it still sees, what was just forgotten."""
    with session_factory() as session:
        run, ada = make_run(session), make_account(session)
        session.commit()
        settling.unsettle(session, ada.id)
        with session_factory() as other:
            look = select(Run).where(Run.id == run.id).with_for_update(skip_locked=True, key_share=True)
            assert other.scalar(look) is None
