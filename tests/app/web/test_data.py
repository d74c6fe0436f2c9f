"""Data over HTTP: uploads, imports as jobs, the researcher's page."""

from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Evaluation, Job, Role
from app.settings import Settings
from app.uploads import path_of
from tests.app.web.conftest import SignIn
from tests.factories import make_prompt, make_run


def test_an_upload_is_kept_as_it_came_and_names_an_import(
    client: TestClient, sign_in: SignIn, session: Session, settings: Settings
) -> None:
    sign_in(client, Role.RESEARCHER)
    answer = client.post("/api/v1/uploads", params={"name": "../../etc/a.jsonl"}, content=b'{"text": "x"}\n')
    assert answer.status_code == 201, answer.text
    source = answer.json()["source"]
    assert path_of(settings.home, source).read_bytes() == b'{"text": "x"}\n'
    assert path_of(settings.home, source).is_relative_to(settings.home / "uploads")
    assert client.post("/api/v1/prompts/imports", json={"prompt_set": "x", "source": "upload:no"}).status_code == 422
    asked = client.post("/api/v1/prompts/imports", json={"prompt_set": "mine", "source": source})
    assert asked.status_code == 202, asked.text
    job = client.get(f"/api/v1/jobs/{asked.json()['job']}").json()
    assert (job["kind"], job["state"], job["run_id"]) == ("import_prompts", "queued", None)
    (row,) = session.scalars(select(Job)).all()
    assert row.args["order"]["source"] == source


def test_a_path_of_the_server_is_not_for_the_web(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)
    for source in ("/etc/passwd", "../secret", "~/x"):
        refused = client.post("/api/v1/prompts/imports", json={"prompt_set": "mine", "source": source})
        assert refused.status_code == 422
        assert "upload the file" in refused.json()["detail"]


def test_an_order_that_makes_no_sense_is_refused(client: TestClient, sign_in: SignIn, session: Session) -> None:
    sign_in(client, Role.RESEARCHER)
    run = make_run(session)
    session.commit()
    nul = {"prompt_set": "mine", "source": "books", "column": "a\0b"}
    assert "NUL" in client.post("/api/v1/prompts/imports", json=nul).json()["detail"]
    for scope in ({"purposes": ["none"]}, {"verdicts": ["good"]}, {"since": "today"}):
        asked = client.post(f"/api/v1/runs/{run.id}/labels/exports", json={"scope": scope})
        assert asked.status_code == 422, scope


def test_labelers_bring_no_data(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.LABELER)
    for method, path in (("post", "/api/v1/uploads?name=a.txt"), ("get", "/data"), ("get", "/api/v1/prompt-sets")):
        assert client.request(method, path).status_code == 403


def test_prompt_sets_are_listed_with_their_splits(client: TestClient, sign_in: SignIn, session: Session) -> None:
    sign_in(client, Role.RESEARCHER)
    for name in ("b", "a", "a"):
        make_prompt(session, prompt_set=name)
    session.commit()
    sets: list[dict[str, Any]] = client.get("/api/v1/prompt-sets").json()["prompt_sets"]
    assert [(one["name"], one["train"], one["test"], one["references"]) for one in sets] == [
        ("a", 2, 0, 0),
        ("b", 1, 0, 0),
    ]


def test_the_page_takes_a_file_and_leads_to_its_job(
    client: TestClient, sign_in: SignIn, session: Session, settings: Settings
) -> None:
    sign_in(client, Role.RESEARCHER)
    form = {"prompt_set": "mine", "preset": "tldr", "model": "gpt2", "what": "dry-run", "like": "tldr"}
    answer = client.post("/data/prompts", data=form, files={"file": ("my posts.csv", b"post\nHello.\n")})
    assert answer.status_code == 303, answer.text
    (job,) = session.scalars(select(Job)).all()
    order = job.args["order"]
    assert (job.kind, order["dry_run"], order["like"], order["cut"]["model"]) == ("cut_prompts", True, "tldr", "gpt2")
    assert order["cut"]["task"]["query_tokens"] == 500
    assert path_of(settings.home, order["source"]).name == "my posts.csv"
    page = BeautifulSoup(client.get(answer.headers["location"]).text, "html.parser")
    assert page.h1 is not None
    assert page.h1.text == "Cut prompts, dry run: queued"
    listed = BeautifulSoup(client.get("/data").text, "html.parser")
    assert listed.select_one(f'a[href="/data/jobs/{job.id}"]') is not None


def test_faults_of_a_job_are_on_its_page(client: TestClient, sign_in: SignIn, session: Session) -> None:
    sign_in(client, Role.RESEARCHER)
    progress = {"rows": 1, "faults": ["a.jsonl, line 2: <b>"], "splits": {"train": 3}}
    job = Job(kind="import_prompts", step=0, args={"order": {"prompt_set": "mine"}}, progress=progress)
    session.add(job)
    session.commit()
    page = BeautifulSoup(client.get(f"/data/jobs/{job.id}").text, "html.parser")
    assert [item.text for item in page.select("main li")] == ["a.jsonl, line 2: <b>"]
    assert "splits: train" in page.text


def test_a_name_that_is_no_file_name_is_refused(client: TestClient, sign_in: SignIn, tmp_path: Path) -> None:
    sign_in(client, Role.RESEARCHER)
    refused = client.post("/api/v1/uploads", params={"name": ".."}, content=b"x")
    assert refused.status_code == 422
    assert list(tmp_path.glob("uploads/*")) == []


def test_the_table_of_summaries_stands_on_the_runs_page_and_in_its_report(
    client: TestClient, sign_in: SignIn, session: Session
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = make_run(session, preset="cnndm")
    scores = {"rouge1": 40.4, "rouge2": 17.66, "rougeL": 36.62, "rouge": 31.55}
    shares = {"novel_sentences": 0.0, "novel_1grams": 0.01, "novel_bigrams": 0.02, "novel_3grams": 0.03}
    places = {"novel_4grams": 0.04, "openings": 0.97, "openings_after_preamble": None, "position": 0.12}
    row = {"writer": "lead-3"} | scores | shares | places
    session.add(
        Evaluation(run_id=run.id, policy_id=run.serving_id, judge="summaries", samples=64, result={"rows": [row]})
    )
    session.commit()
    for path in (f"/runs/{run.id}", f"/runs/{run.id}/report"):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        page = BeautifulSoup(answer.text, "html.parser")
        cells = [cell.text for cell in page.select('section[aria-labelledby="summaries-title"] tbody td')]
        said = ["40.40", "17.66", "36.62", "31.55", "0 %", "1 %", "2 %", "3 %", "4 %", "97 %", "", "12 %"]
        assert cells == said
