"""The first start makes everything, a later one makes fresh links only."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import accounts, comparisons, labeling, prompts, welcome
from app.db import SessionFactory
from app.errors import InvalidError, NotFoundError
from app.models import Account, Phase, Role, Run, Verdict
from app.settings import Settings
from tests.factories import make_account, make_comparison, make_run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, public_url="https://label.example/")


@pytest.fixture(autouse=True)
def _some_prompts(session: Session) -> None:
    prompts.import_texts(session, "stories", [f"Story {n}" for n in range(200)])
    session.commit()


def token_of(link: str) -> str:
    return urlsplit(link).path.removeprefix("/signin/")


def test_the_first_start_makes_a_run_and_links_for_both_roles(
    session: Session, session_factory: SessionFactory, settings: Settings
) -> None:
    made = welcome.prepare(session_factory, settings, base_model="gpt2")
    assert made.url == "https://label.example"
    assert made.labeler_link.startswith("https://label.example/signin/")
    run = session.get_one(Run, made.run_id)
    assert (run.base_model, run.hparams["preset"]) == ("gpt2", "sentiment-small")
    assert accounts.redeem_invite(session, token_of(made.labeler_link)).role == Role.LABELER
    assert accounts.redeem_invite(session, token_of(made.researcher_link)).role == Role.RESEARCHER
    access = accounts.access_of_token(session, made.api_token)
    assert access is not None
    assert access.account.role == Role.RESEARCHER


def test_a_later_start_keeps_everything_and_withdraws_unused_links(
    session: Session, session_factory: SessionFactory, settings: Settings
) -> None:
    first = welcome.prepare(session_factory, settings, base_model="gpt2")
    second = welcome.prepare(session_factory, settings, base_model=None)
    assert second.run_id == first.run_id
    assert session.scalar(select(func.count(Account.id))) == 2
    with pytest.raises(NotFoundError):
        accounts.redeem_invite(session, token_of(first.labeler_link))
    assert accounts.access_of_token(session, first.api_token) is None
    assert accounts.redeem_invite(session, token_of(second.labeler_link))


def test_another_base_model_starts_another_run(session_factory: SessionFactory, settings: Settings) -> None:
    first = welcome.prepare(session_factory, settings, base_model="gpt2")
    other = welcome.prepare(session_factory, settings, base_model="gpt2-medium")
    again = welcome.prepare(session_factory, settings, base_model="gpt2")
    assert other.run_id != first.run_id == again.run_id


def test_a_run_goes_on_with_the_model_it_has(session: Session) -> None:
    assert not welcome.goes_on(session, None)
    run = make_run(session, base_model="gpt2")
    assert welcome.goes_on(session, None)
    assert welcome.goes_on(session, "gpt2")
    assert not welcome.goes_on(session, "gpt2-medium")
    run.reference_id = None
    assert not welcome.goes_on(session, "gpt2"), "its model could not be had yet"
    run.phase = Phase.STOPPED
    assert not welcome.goes_on(session, None)


def test_without_run_and_model_it_says_what_to_do(session_factory: SessionFactory, settings: Settings) -> None:
    with pytest.raises(InvalidError, match="--model"):
        welcome.prepare(session_factory, settings, base_model=None)
    with pytest.raises(InvalidError, match="choose one of"):
        welcome.prepare(session_factory, settings, base_model="gpt2", preset="none")


def test_ready_means_that_a_comparison_can_be_labeled(session: Session, session_factory: SessionFactory) -> None:
    run = make_run(session)
    session.commit()
    assert not welcome.is_ready(session_factory, run.id)
    make_comparison(session, run)
    session.commit()
    assert welcome.is_ready(session_factory, run.id)


def test_a_run_that_asks_nobody_is_not_waited_for(session: Session, session_factory: SessionFactory) -> None:
    paused, training = make_run(session), make_run(session)
    paused.phase = Phase.PAUSED
    make_comparison(session, training)
    labeler = make_account(session)
    (lent,) = labeling.lease(session, labeler.id, training.id, count=1, lease_seconds=60)
    labeling.record(session, labeler.id, lent.comparison_id, verdict=Verdict.TIE, choice=None, key="once")
    session.commit()
    assert comparisons.ready_count(session, training.id) == 0
    assert welcome.is_ready(session_factory, paused.id)
    assert welcome.is_ready(session_factory, training.id)
