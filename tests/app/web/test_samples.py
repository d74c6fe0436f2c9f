"""Samples over pages and API."""

from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kinds import JobKind
from app.models import Job, JobState, Role, SampleReading
from app.web.samples import shade
from tests.app.web.conftest import SignIn
from tests.factories import make_checkpoint, make_prompt, make_run, make_sample


def test_the_page_looks_measures_and_comes_back(client: TestClient, session: Session, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)
    run = make_run(session)
    run.hparams = run.hparams | {"task": run.hparams["task"] | {"temperature": 0.7}}
    sample = make_sample(session, run, make_prompt(session, text="Once <upon> a time"), text=" it rained.")
    other = make_checkpoint(session, run, number=1)
    session.commit()
    here = f"/runs/{run.id}/samples"
    empty = {"words": "upon", "left": "", "valid": "", "score_from": "", "kl_to": "", "split": "", "order": "newest"}
    page = BeautifulSoup(client.get(here, params=empty).text, "html.parser")
    assert [card.get_text() for card in page.select(".sample-text")] == [" it rained."]
    form = page.find("form", action=f"{here}/read")
    assert form is not None
    fields = [(str(one["name"]), str(one["value"])) for one in form.find_all("input")]
    assert ("sample", str(sample.id)) in fields
    answer = client.post(f"{here}/read", data=dict(fields))
    job = session.scalars(select(Job)).one()
    assert (job.kind, job.args) == (JobKind.READ_SAMPLES, {"samples": [str(sample.id)]})
    assert answer.headers["location"] == f"{here}?words=upon&order=newest&job={job.id}"
    assert "Measuring" in client.get(answer.headers["location"]).text
    job.state = JobState.DONE
    session.add(SampleReading(sample_id=sample.id, kl=3.5, token_kl=[-0.5, 4.0], token_ends=[3, 11]))
    session.commit()
    page = BeautifulSoup(client.get(answer.headers["location"]).text, "html.parser")
    tokens = [(token.get_text(), token["class"], token["title"]) for token in page.select(".sample-text .kl")]
    assert tokens == [(" it", ["kl", "less-1"], "-0.50 nats"), (" rained.", ["kl", "more-4"], "+4.00 nats")]
    nothing = client.get(here, params={"left": str(other.id), "right": str(run.reference_id)}).text
    assert "Let policy 1 continue them" in nothing
    client.post(f"{here}/write", data={"policy": str(other.id), "here": f"left={other.id}"})
    session.expire_all()
    assert session.scalars(select(Job.args).where(Job.kind == JobKind.SHOWCASE)).all() == [{"policy": str(other.id)}]


def test_the_api_finds_and_measures(client: TestClient, session: Session, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)
    run = make_run(session)
    sample = make_sample(session, run, make_prompt(session))
    session.commit()
    found = client.get(f"/api/v1/runs/{run.id}/samples", params={"left": str(run.reference_id)}).json()
    assert [one["id"] for one in found["prompts"][0]["columns"][0]] == [str(sample.id)]
    assert client.get(f"/api/v1/runs/{run.id}/samples", params={"page": 0}).status_code == 422
    answer = client.post(f"/api/v1/runs/{run.id}/samples/readings", json={"samples": [str(sample.id)]})
    assert (answer.status_code, set(answer.json())) == (202, {"job"})


def test_a_token_is_coloured_by_how_far_it_is_from_the_reference() -> None:
    assert [shade(nats) for nats in (0.1, -0.2, 0.3, -0.8, 2.0, -9.0)] == [
        *("kl", "kl", "kl more-1", "kl less-2", "kl more-3", "kl less-4"),
    ]
