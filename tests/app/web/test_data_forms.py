"""The forms that bring labels and take labels and models out, and what their jobs say of themselves."""

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import transfers
from app.models import CheckpointKind, Job, JobState, Role, Run
from app.settings import Settings
from app.uploads import path_of
from tests.app.web.conftest import SignIn
from tests.factories import make_checkpoint, make_run


def page_of(client: TestClient, path: str) -> BeautifulSoup:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return BeautifulSoup(answer.text, "html.parser")


def only_job(session: Session) -> Job:
    session.expire_all()
    return session.scalars(select(Job)).one()


def committed_run(session: Session) -> Run:
    run = make_run(session)
    session.commit()
    return run


def test_a_file_of_labels_is_kept_when_the_rest_of_the_form_is_wrong(
    client: TestClient, sign_in: SignIn, session: Session, settings: Settings
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = committed_run(session)
    wrong = client.post("/data/labels/in", data={"run": "", "tokenizer": "gpt2"}, files={"file": ("a.json", b"[]")})
    assert wrong.status_code == 422
    page = BeautifulSoup(wrong.text, "html.parser")
    assert "Choose a run." in page.select_one("[role=alert]").text  # type: ignore[union-attr]
    assert page.select_one("#tokenizer")["value"] == "gpt2"  # type: ignore[index]
    kept = str(page.select_one("input[name=kept]")["value"])  # type: ignore[index]
    assert path_of(settings.home, kept).read_bytes() == b"[]"

    again = {"run": str(run.id), "tokenizer": "gpt2", "kept": kept, "keep_good": "true", "what": "dry-run"}
    assert client.post("/data/labels/in", data=again).status_code == 303
    job = only_job(session)
    assert (job.kind, job.run_id) == ("import_labels", run.id)
    order = job.args["order"]
    assert (order["source"], order["tokenizer"], order["keep_good"], order["dry_run"]) == (kept, "gpt2", True, True)


def test_a_form_without_a_file_says_so_and_a_path_of_the_server_is_refused(
    client: TestClient, sign_in: SignIn, session: Session
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = committed_run(session)
    assert "Choose a file of labels" in client.post("/data/labels/in", data={"run": str(run.id)}).text
    sneaky = {"run": str(run.id), "kept": "/etc/passwd", "what": "import"}
    assert "is a path of the server" in client.post("/data/labels/in", data=sneaky).text
    halfway = {"prompt_set": "mine", "source": "books", "preset": "tldr"}
    assert "name the model whose tokens count" in client.post("/data/prompts", data=halfway).text
    assert session.scalars(select(Job)).all() == []


def test_nobody_makes_the_server_read_a_file_without_signing_in(client: TestClient) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n\r\n'
        for _ in range(64):
            read += 1
            yield b"0" * 2**16
        yield b"\r\n--x--\r\n"

    for path in ("/data/prompts", "/data/labels/in"):
        answer = client.post(path, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.headers["location"] == "/signin"


def dry_run(session: Session, run: Run, **result: Any) -> UUID:
    order = {"source": "books", "dry_run": True, "keep_good": False}
    job = Job(kind="import_labels", run_id=run.id, step=0, args={"order": order}, state=JobState.DONE, result=result)
    session.add(job)
    session.commit()
    return job.id


def test_a_dry_run_is_followed_by_the_import_of_the_good_rows(
    client: TestClient, sign_in: SignIn, session: Session
) -> None:
    sign_in(client, Role.RESEARCHER)
    job_id = dry_run(session, committed_run(session), bad=1, labels=9, faults=["record 3: no choice"])
    page = page_of(client, f"/data/jobs/{job_id}")
    assert [one.text for one in page.select(".faults li")] == ["record 3: no choice"]
    form = page.select_one(f'form[action="/data/jobs/{job_id}/import"]')
    assert form is not None
    assert form.button is not None
    assert form.button.text == "Import the good ones"
    fields = {str(one["name"]): str(one["value"]) for one in form.select("input")}
    went = client.post(str(form["action"]), data=fields)
    assert went.status_code == 303
    made = session.get_one(Job, UUID(went.headers["location"].rsplit("/", 1)[-1]))
    assert (made.args["order"]["dry_run"], made.args["order"]["keep_good"]) == (False, True)
    assert client.post(f"/data/jobs/{made.id}/import").status_code == 409, "it is no dry run"


def test_an_export_of_labels_asks_for_exactly_what_is_ticked(
    client: TestClient, sign_in: SignIn, session: Session
) -> None:
    me = sign_in(client, Role.RESEARCHER)
    run = committed_run(session)
    page = page_of(client, f"/data/labels/out?run={run.id}")
    assert {str(one["value"]) for one in page.select("input[name=splits]")} == {"train", "valid", "test"}
    assert not page.select("input[checked]"), "a new form leaves nothing out"
    form = {
        "run": str(run.id),
        "format": "pairs",
        "splits": ["train", "valid"],
        "verdicts": "best",
        "since": "2026-03-01T12:00",
        "imported": "without",
        "usable": "true",
    }
    went = client.post("/data/labels/out", data=form)
    assert went.status_code == 303, went.text
    order = only_job(session).args["order"]
    asked = {name: value for name, value in order["scope"].items() if value not in (None, False)}
    assert order["format"] == "pairs"
    assert asked == {
        "splits": ["train", "valid"],
        "verdicts": ["best"],
        "since": "2026-03-01T12:00:00Z",
        "usable": True,
    }
    assert order["scope"]["imported"] is False
    job_page = page_of(client, went.headers["location"])
    assert f"by{me.name}" in job_page.text.replace("\n", "")
    assert "train, valid" in job_page.text


def test_a_span_without_a_moment_comes_back_with_what_was_ticked(
    client: TestClient, sign_in: SignIn, session: Session
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = committed_run(session)
    span = {"since": "2026-03-02T00:00", "until": "2026-03-01T00:00", "splits": "test"}
    refused = client.post("/data/labels/out", data={"run": str(run.id), "format": "jsonl", **span})
    assert refused.status_code == 422
    page = BeautifulSoup(refused.text, "html.parser")
    assert "since lies behind until" in page.select_one("[role=alert]").text  # type: ignore[union-attr]
    assert [one["value"] for one in page.select("input[checked]")] == ["test"]
    assert page.select_one("#until")["value"] == "2026-03-01T00:00"  # type: ignore[index]


def test_a_model_is_asked_for_among_those_whose_files_are_here(
    client: TestClient, sign_in: SignIn, session: Session
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = make_run(session)
    policy = make_checkpoint(session, run, number=1, episodes=64)
    gone = make_checkpoint(session, run, number=2, removed_at=policy.created_at)
    state = make_checkpoint(session, run, kind=CheckpointKind.TRAINING_STATE, number=1)
    session.commit()
    (link,) = page_of(client, f"/checkpoints/{policy.id}").select('a[href^="/data/models"]')
    page = page_of(client, str(link["href"]))
    offered = {str(one["value"]): one.has_attr("selected") for one in page.select("#checkpoint option")}
    assert offered == {str(policy.id): True, str(run.reference_id): False}
    assert not offered.keys() & {str(gone.id), str(state.id)}
    form = {"run": str(run.id), "checkpoint": str(policy.id)}
    assert "String should match" in client.post("/data/models", data=form | {"to": "not a url"}).text
    assert client.post("/data/models", data=form | {"to": "file:///tmp/x"}).status_code == 303
    assert only_job(session).args["order"] == {"checkpoint": str(policy.id), "to": "file:///tmp/x"}


def test_files_of_an_export_are_offered_with_their_hash_until_they_are_gone(
    client: TestClient, sign_in: SignIn, session: Session, settings: Settings
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = committed_run(session)
    text = b'{"label": 1}\n'
    sha = hashlib.sha256(text).hexdigest()
    described = {"name": "labels.jsonl", "bytes": len(text), "sha256": sha}
    args, result = {"order": {"format": "jsonl", "scope": {}}}, {"records": 1, "files": [described]}
    job = Job(kind="export_labels", run_id=run.id, step=0, args=args, state=JobState.DONE, result=result)
    session.add(job)
    session.commit()
    path = transfers.folder_of(settings.home, job.id) / "labels.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(text)

    page = page_of(client, f"/data/jobs/{job.id}")
    assert [one.text for one in page.select("td code")] == [sha]
    link = page.select_one("a[download]")
    assert link is not None
    assert client.get(str(link["href"])).content == text

    path.unlink()
    page = page_of(client, f"/data/jobs/{job.id}")
    assert page.select_one("a[download]") is None
    assert "labels.jsonl (removed)" in page.text
    assert client.get(str(link["href"])).status_code == 404
