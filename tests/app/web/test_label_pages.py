"""Pages around the desk, and the pages on which researchers write what labelers are told."""

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts, guidelines, practice
from app.hparams import PRESETS
from app.models import Acknowledgement, Gold, Guideline, PracticeItem, Role, Run
from tests.app.test_gold import answered
from tests.factories import make_account, make_run

SMALL = PRESETS["sentiment-small"]


@pytest.fixture
def run(session: Session) -> Run:
    """With a guideline and practice on."""
    strict = SMALL.model_copy(update={"labeling": SMALL.labeling.model_copy(update={"practice": True})})
    made = make_run(session, hparams=strict.model_dump(mode="json"))
    guidelines.publish(session, made.id, None, "# Be kind\n\n<script>no</script> `F`")
    practice.equip(session, made, practice.shipped("sentiment")[:1], 4)
    session.commit()
    return made


def bearer(session: Session, role: Role) -> dict[str, str]:
    """Headers of a new account."""
    token = accounts.issue_token(session, make_account(session, role=role).id, "test")
    session.commit()
    return {"Authorization": f"Bearer {token}", "Accept": "text/html"}


@pytest.fixture
def ada(session: Session) -> dict[str, str]:
    return bearer(session, Role.LABELER)


@pytest.fixture
def researcher(session: Session) -> dict[str, str]:
    return bearer(session, Role.RESEARCHER)


def test_first_the_guideline_then_practice_then_the_desk(
    client: TestClient, run: Run, session: Session, ada: dict[str, str]
) -> None:
    url = f"/runs/{run.id}/label"
    guideline = session.scalars(select(Guideline)).one()
    first = client.get(url, headers=ada)
    assert first.headers["location"] == f"/runs/{run.id}/guideline"
    page = BeautifulSoup(client.get(f"/runs/{run.id}/guideline", headers=ada).text, "html.parser")
    assert page.select_one(".guideline h2").text == "Be kind"  # type: ignore[union-attr]
    assert page.select(".guideline script") == []
    assert page.select_one(".guideline code").text == "F"  # type: ignore[union-attr]
    client.post(f"/runs/{run.id}/guideline/{guideline.id}/read", headers=ada)
    assert session.scalars(select(Acknowledgement.guideline_id)).one() == guideline.id
    second = client.get(url, headers=ada)
    assert second.headers["location"] == f"/runs/{run.id}/practice"
    item = session.scalars(select(PracticeItem)).one()
    told = client.get(f"/runs/{run.id}/practice", headers=ada).text
    assert item.explanation not in told  # not before the answer
    form = {"choice": item.best, "attempt": 1}
    assert item.explanation in client.post(f"/runs/{run.id}/practice/{item.id}", data=form, headers=ada).text
    assert client.get(url, headers=ada).status_code == 200


def test_researchers_write_guideline_practice_and_gold(
    client: TestClient, run: Run, session: Session, researcher: dict[str, str]
) -> None:
    client.post(f"/runs/{run.id}/guideline", data={"text": "Two.\r\nLines."}, headers=researcher)
    assert session.scalars(select(Guideline.text).where(Guideline.version == 2)).one() == "Two.\nLines."
    assert "Publish version 3" in client.get(f"/runs/{run.id}/guideline/edit", headers=researcher).text

    form = {"prompt": "p", "sample": ["a", "b", "c", "d"], "best": 2, "explanation": "Because."}
    client.post(f"/runs/{run.id}/practice-items", data=form, headers=researcher)
    assert "Because." in client.get(f"/runs/{run.id}/practice/edit", headers=researcher).text
    added = session.scalars(select(PracticeItem).where(PracticeItem.number == 2)).one()
    assert (added.samples, added.best) == (["a", "b", "c", "d"], 2)
    client.post(f"/practice-items/{added.id}/remove", headers=researcher)
    assert session.scalars(select(PracticeItem.number)).all() == [1]

    source, samples = answered(session, run, make_account(session))
    session.commit()
    assert "picked by 1" in client.get(f"/runs/{run.id}/gold", headers=researcher).text
    chosen = {"comparison": str(source), "sample": str(samples["c"]), "explanation": "Clear."}
    client.post(f"/runs/{run.id}/gold", data=chosen, headers=researcher)
    gold = session.scalars(select(Gold)).one()
    assert gold.explanation == "Clear."
    client.post(f"/gold/{gold.comparison_id}/retire", headers=researcher)
    assert "retired" in client.get(f"/runs/{run.id}/gold", headers=researcher).text


@pytest.mark.parametrize("path", ["guideline/edit", "practice/edit", "gold"])
def test_labelers_do_not_see_what_researchers_decide(
    client: TestClient, run: Run, ada: dict[str, str], path: str
) -> None:
    assert client.get(f"/runs/{run.id}/{path}", headers=ada).status_code == 403


@pytest.mark.parametrize("path", ["guideline", "practice-items", "gold"])
def test_labelers_change_nothing_there(client: TestClient, run: Run, ada: dict[str, str], path: str) -> None:
    form = {"text": "x", "prompt": "p", "sample": "a", "best": "0", "explanation": "e"}
    form |= {"comparison": str(run.id)}
    assert client.post(f"/runs/{run.id}/{path}", data=form, headers=ada).status_code == 403
