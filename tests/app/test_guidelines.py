"""Guidelines: versions are kept, reading is remembered, each label names what its labeler had read."""

from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app import guidelines, labeling
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hparams import PRESETS
from app.models import Account, Label, Run, Verdict
from tests.factories import make_account, make_comparison, make_run


@pytest.fixture
def run(session: Session) -> Run:
    return make_run(session)


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session)


@pytest.mark.parametrize("name", sorted({one.labeling.guideline or "" for one in PRESETS.values()}))
def test_every_preset_comes_with_instructions(name: str) -> None:
    text = guidelines.shipped(name)
    assert text.startswith("# Which ")
    assert len(text) > 1_000
    if name in ("sentiment", "descriptiveness"):
        assert "Judge the style" in text
        assert "sexual content counts as **very" in text
    else:
        assert all(word in text for word in ("Accuracy", "No redundancy", "Copying"))


def test_an_unknown_name_names_the_known() -> None:
    with pytest.raises(InvalidError, match="cnndm, descriptiveness, sentiment, tldr"):
        guidelines.shipped("poems")


def test_versions_count_up_and_stay(session: Session, run: Run, ada: Account) -> None:
    first = guidelines.publish(session, run.id, None, "One.")
    second = guidelines.publish(session, run.id, ada.id, " Two. ")
    assert [(one.version, one.text, one.author_id) for one in guidelines.versions(session, run.id)] == [
        (2, "Two.", ada.id),
        (1, "One.", None),
    ]
    assert guidelines.newest(session, run.id) == second != first


def test_blank_repeated_and_lost_ones_are_refused(session: Session, run: Run, ada: Account) -> None:
    guidelines.publish(session, run.id, None, "One.")
    with pytest.raises(InvalidError):
        guidelines.publish(session, run.id, ada.id, " ")
    with pytest.raises(ConflictError):
        guidelines.publish(session, run.id, ada.id, "One.")
    with pytest.raises(NotFoundError):
        guidelines.publish(session, ada.id, ada.id, "One.")
    with pytest.raises(NotFoundError):
        guidelines.acknowledge(session, run.id, ada.id)


def test_a_label_names_what_its_labeler_had_read(session: Session, run: Run, ada: Account) -> None:
    def followed(labeler: Account) -> UUID | None:
        """By the next answer."""
        make_comparison(session, run)
        (one,) = labeling.lease(session, labeler.id, run.id, count=1, lease_seconds=60)
        choice = one.samples[0][0]
        said = labeling.record(
            session, labeler.id, one.comparison_id, verdict=Verdict.BEST, choice=choice, key=str(one.assignment_id)
        )
        return session.get_one(Label, said.label_id).guideline_id

    assert followed(ada) is None
    first = guidelines.publish(session, run.id, None, "One.")
    guidelines.acknowledge(session, first.id, ada.id)
    guidelines.acknowledge(session, first.id, ada.id)
    second = guidelines.publish(session, run.id, None, "Two.")
    program = make_account(session, "program")
    assert followed(ada) == first.id
    assert followed(program) == second.id
    assert not guidelines.acknowledged(session, second.id, ada.id)
    guidelines.acknowledge(session, second.id, ada.id)
    assert followed(ada) == second.id
    assert guidelines.readers(session, run.id) == {first.id: 1, second.id: 1}
