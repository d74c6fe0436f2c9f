"""The pages and the API on labelers: who may see them, what they say, leaving somebody out."""

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.models import Role
from app.usable import count_training
from tests.app.test_labeling import best, lease
from tests.app.web.conftest import SignIn
from tests.factories import make_account, make_comparison, make_run


def test_a_researcher_sees_everybody_and_leaves_somebody_out(
    client: TestClient, session: Session, sign_in: SignIn
) -> None:
    run, ada = make_run(session), make_account(session, "Ada Lovelace")
    make_comparison(session, run)
    best(session, ada, lease(session, ada, run)[0])
    sign_in(client, Role.RESEARCHER, name="Eve")
    page = BeautifulSoup(client.get(f"/runs/{run.id}/quality").text, "html.parser")
    rows = [row.get_text(" ", strip=True) for row in page.select("tbody tr")]
    assert rows[0].startswith("Everybody 1")
    assert rows[1].startswith("Ada Lovelace 1")
    own = f"/runs/{run.id}/labelers/{ada.id}"
    assert own in [link["href"] for link in page.select("tbody a")]
    assert client.post(f"{own}/exclude", data={"reason": "too <fast>"}).headers["location"] == own
    session.expire_all()
    assert count_training(session, run.id) == 0
    text = client.get(own).text
    assert "Excluded: too &lt;fast&gt;" in text
    assert client.get(f"/api/v1{own}").json()["excluded"] == "too <fast>"
    assert client.post(f"/api/v1{own}/include").status_code == 204
    assert client.post(f"/api/v1{own}/include").status_code == 409
    session.expire_all()
    assert count_training(session, run.id) == 1
    found = client.get(f"/api/v1/runs/{run.id}/quality").json()
    assert (found["everybody"]["answers"], found["agreement"], found["labelers"][0]["excluded"]) == (1, None, None)


@pytest.mark.parametrize("path", ["/runs/{run}/quality", "/runs/{run}/labelers/{me}"])
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_labelers_see_none_of_it(client: TestClient, session: Session, sign_in: SignIn, path: str, prefix: str) -> None:
    run = make_run(session)
    me = sign_in(client)
    assert client.get(prefix + path.format(run=run.id, me=me.id)).status_code == 403
    assert client.post(f"/api/v1/runs/{run.id}/labelers/{me.id}/include").status_code == 403
