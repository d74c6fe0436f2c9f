"""People, oneself, how well people label, what labelers are told: for everybody, at a desk and on a phone."""

from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts, exclusions, gold, guidelines, labeling, people, practice
from app.db import session_scope
from app.hparams import PRESETS
from app.models import Account, Role, Run, Verdict
from tests.browser.axe import everywhere, picture
from tests.browser.conftest import Site
from tests.browser.texts import stories
from tests.factories import make_account, make_comparison, make_run
from workers import assessment

pytestmark = pytest.mark.browser

LABELED, LABELERS = 8, ("Ada Lovelace", "Bo", "Chen with quite a long name of her own")


@pytest.fixture
def boss(site: Site) -> Account:
    return site.account("Olga", Role.OPERATOR)


@pytest.fixture
def run(site: Site, boss: Account) -> Run:
    """Three people answered the same comparisons; one is left out, one comparison is gold, one is flagged."""
    hparams = PRESETS["sentiment-small"]
    with session_scope(site.factory) as session:
        run = make_run(session, name="Happier stories", hparams=hparams.model_dump(mode="json"))
        guidelines.publish(session, run.id, None, guidelines.shipped("sentiment"))
        practice.equip(session, run, practice.shipped("sentiment")[:2], 4)
        for _ in range(LABELED):
            make_comparison(session, run, wanted=len(LABELERS))
        crowd = [make_account(session, name) for name in LABELERS]
        for place, one in enumerate(crowd):
            label_all(session, run, one, place=place)
        candidate = gold.candidates(session, run.id)[0]
        gold.author(session, run.id, candidate.comparison_id, candidate.samples[0][0], "It is clear.", boss.id)
        exclusions.exclude(session, run.id, crowd[2].id, boss.id, "answered in half a second")
        stories(session, run)
        object_to(session, run, crowd[0])
    assessment.assess(lambda: session_scope(site.factory), run.id)
    return run


def label_all(session: Session, run: Run, labeler: Account, *, place: int) -> None:
    """The last of them chooses another sample than the others every second time."""
    for number, got in enumerate(labeling.lease(session, labeler.id, run.id, count=8, lease_seconds=600)):
        choice = sorted(got.samples)[1 if place == 2 and number % 2 else 0][0]
        took, key = 4000 + 900 * number, str(uuid4())
        asked = got.comparison_id
        labeling.record(session, labeler.id, asked, verdict=Verdict.BEST, choice=choice, milliseconds=took, key=key)


def object_to(session: Session, run: Run, labeler: Account) -> None:
    """Flags one comparison and skips another."""
    first, second = labeling.lease(session, labeler.id, run.id, count=2, lease_seconds=600)
    labeling.flag(session, labeler.id, first.comparison_id, "personal data: a name and an address")
    asked, why = second.comparison_id, "unclear question"
    labeling.record(session, labeler.id, asked, verdict=Verdict.SKIP, choice=None, reason=why, key=str(uuid4()))


@pytest.fixture
def labeler(site: Site, run: Run) -> UUID:
    """One who labeled in the run."""
    assert run.id
    with session_scope(site.factory) as session:
        return session.scalars(select(Account.id).where(Account.name == LABELERS[0])).one()


@pytest.fixture
def invitation(site: Site, boss: Account) -> str:
    """Its secret; beside it there are a token and somebody without access."""
    with session_scope(site.factory) as session:
        accounts.issue_token(session, boss.id, "the nightly export")
        people.disable(session, boss, make_account(session, "Gone").id)
        return people.invite(session, boss, Role.LABELER, uses=3, days=7)


def test_every_page_is_for_everybody(
    site: Site, run: Run, labeler: UUID, boss: Account, invitation: str, page: Page
) -> None:
    page.goto(f"{site.url}/join/{invitation}")
    assert everywhere(page) == {}, "join"
    site.sign_in(page, boss)
    of_run = (
        "quality",
        f"labelers/{labeler}",
        "gold",
        "practice/edit",
        "guideline/edit",
        "me",
        "guideline",
        "practice",
    )
    wrong = {}
    for path in ("/people", "/me", *(f"/runs/{run.id}/{one}" for one in of_run)):
        page.goto(f"{site.url}{path}")
        if found := everywhere(page):
            wrong[path] = found
        picture(page, f"research-{path.rsplit('/', 2)[-2][:8]}-{path.rsplit('/', 1)[-1][:12]}")
    assert wrong == {}
