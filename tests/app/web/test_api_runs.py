"""The researchers' API: people, runs, curves, exports, checkpoints, text on demand."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import labeling, prompts
from app.models import CheckpointKind, Job, Metric, Role, Run, Verdict
from tests.app.web.conftest import SignIn
from tests.factories import make_account, make_checkpoint, make_comparison, make_run

API = "/api/v1"


@pytest.fixture(autouse=True)
def _signed_in(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    session.commit()
    return made


def label(session: Session, run: Run, verdict: Verdict, place: int = 0) -> None:
    """One answer by a new labeler to a new comparison, picking the sample shown at `place`."""
    labeler = make_account(session)
    make_comparison(session, run)
    (lease,) = labeling.lease(session, labeler.id, run.id, count=1, lease_seconds=60)
    choice = lease.samples[place][0] if verdict == Verdict.BEST else None
    labeling.record(session, labeler.id, lease.comparison_id, verdict=verdict, choice=choice, key=str(uuid4()))
    session.commit()


def export(client: TestClient, run: Run, form: str) -> list[dict[str, Any]]:
    answer = client.get(f"{API}/runs/{run.id}/labels", params={"format": form})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_new_labeler_can_sign_in_both_ways(client: TestClient) -> None:
    made = client.post(f"{API}/labelers", json={"name": "Grace"})
    assert made.status_code == 201
    client.cookies.clear()
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    assert client.get(f"{API}/runs", headers=headers).status_code == 200
    assert client.post("/signin", data={"secret": made.json()["link"]}).headers["location"] == "/label"


def test_a_labeler_may_not_do_what_researchers_do(client: TestClient, sign_in: SignIn, run: Run) -> None:
    sign_in(client, Role.LABELER)
    for path in (f"/runs/{run.id}", f"/runs/{run.id}/labels", f"/runs/{run.id}/checkpoints", f"/jobs/{uuid4()}"):
        assert client.get(API + path).status_code == 403
    for path in ("/labelers", "/runs", f"/runs/{run.id}/pause", "/generate"):
        assert client.post(API + path, json={}).status_code in (403, 422)
    assert client.post(f"{API}/labelers", json={"name": "Eve"}).status_code == 403


def test_a_run_is_made_from_a_preset_with_changes(client: TestClient, session: Session) -> None:
    prompts.import_texts(session, "mine", [f"Story {n}" for n in range(200)])
    session.commit()
    changes = {"prompt_set": "mine", "ppo": {"batch": 16, "episodes": 160}}
    made = client.post(f"{API}/runs", json={"name": "r", "base_model": "gpt2", "hparams": changes})
    assert made.status_code == 201, made.text
    hparams = session.get_one(Run, UUID(made.json()["id"])).hparams
    assert (hparams["ppo"]["batch"], hparams["ppo"]["kl_target"], hparams["prompt_set"]) == (16, 6.0, "mine")
    assert client.get(f"{API}/runs").json()["runs"][0]["name"] == "r"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"preset": "none"}, "choose one of"),
        ({"hparams": {"ppo": {"batch": 33}}}, "multiple of batch"),
        ({"hparams": {"ppo": {"bach": 32}}}, "ppo.bach"),
        ({"hparams": {"ppo": 3}}, "ppo"),
        ({"hparams": {"prompt_set": "nothing"}}, "import-prompts"),
        ({"colour": "red"}, "body.colour"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(client: TestClient, body: dict[str, Any], named: str) -> None:
    answer = client.post(f"{API}/runs", json={"name": "r", "base_model": "gpt2"} | body)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_pause_resume_stop(client: TestClient, run: Run) -> None:
    url = f"{API}/runs/{run.id}"
    paused = client.post(f"{url}/pause", json={"note": "lunch"}).json()
    assert (paused["phase"], paused["note"]) == ("paused", "lunch")
    assert client.post(f"{url}/pause").status_code == 409
    assert client.post(f"{url}/resume").json()["phase"] == "running"
    assert client.post(f"{url}/stop").json()["phase"] == "stopped"
    assert client.get(url).json()["phase"] == "stopped"
    assert client.post(f"{API}/runs/{uuid4()}/pause").status_code == 404


def test_settings_are_frozen_once_a_run_has_begun(client: TestClient, session: Session, run: Run) -> None:
    before = dict(run.hparams)
    for method in ("PUT", "PATCH", "POST"):
        for path in ("", "/hparams"):
            answer = client.request(method, f"{API}/runs/{run.id}{path}", json={"hparams": {"seed": 9}})
            assert answer.status_code == 405
    for act in ("pause", "resume", "finish"):
        assert client.post(f"{API}/runs/{run.id}/{act}", json={"hparams": {"seed": 9}}).status_code == 422
    session.refresh(run)
    assert run.hparams == before
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    assert {path for path in paths if "/runs/" in path and {"put", "patch"} & set(paths[path])} == set()


def test_metrics_come_by_name(client: TestClient, session: Session, run: Run) -> None:
    session.add_all(Metric(run_id=run.id, name="objective/kl", step=n, value=n / 2) for n in range(3))
    session.commit()
    answer = client.get(f"{API}/runs/{run.id}/metrics", params={"name": ["objective/kl", "reward/loss"]})
    curve, empty = answer.json()["series"]
    assert [point["value"] for point in curve["points"]] == [0.0, 0.5, 1.0]
    assert (empty["name"], empty["points"]) == ("reward/loss", [])
    assert client.get(f"{API}/runs/{run.id}/metrics").status_code == 422


def test_the_whole_export_has_every_answer(client: TestClient, session: Session, run: Run) -> None:
    for verdict in (Verdict.BEST, Verdict.TIE, Verdict.NONE, Verdict.SKIP):
        label(session, run, verdict)
    rows = export(client, run, "jsonl")
    assert sorted(row["verdict"] for row in rows) == ["best", "none", "skip", "tie"]
    for row in rows:
        assert len(row["samples"]) == 4
        assert row["current"]
        assert (row["choice"] == row["samples"][0]["id"]) == (row["verdict"] == "best")


def test_best_of_4_says_which_place_was_chosen(client: TestClient, session: Session, run: Run) -> None:
    label(session, run, Verdict.TIE)
    for place in range(4):
        label(session, run, Verdict.BEST, place)
    assert [row["best"] for row in export(client, run, "best_of_4")] == [0, 1, 2, 3]


def test_one_choice_of_four_is_three_pairs(client: TestClient, session: Session, run: Run) -> None:
    label(session, run, Verdict.BEST, 2)
    (four,) = export(client, run, "best_of_4")
    pairs = export(client, run, "pairs")
    assert {pair["chosen"] for pair in pairs} == {four["samples"][2]}
    assert [pair["rejected"] for pair in pairs] == [text for n, text in enumerate(four["samples"]) if n != 2]


def test_an_unknown_format_names_the_known_ones(client: TestClient, run: Run) -> None:
    answer = client.get(f"{API}/runs/{run.id}/labels", params={"format": "csv"})
    assert answer.status_code == 422
    assert "'best_of_4'" in answer.json()["detail"]


def test_checkpoints_and_their_origin(client: TestClient, session: Session, run: Run) -> None:
    policy = make_checkpoint(session, run, number=1, parent_id=run.reference_id)
    session.commit()
    listed = client.get(f"{API}/runs/{run.id}/checkpoints").json()["checkpoints"]
    assert {one["id"] for one in listed} == {str(policy.id), str(run.reference_id)}
    shown = client.get(f"{API}/checkpoints/{policy.id}").json()
    assert [one["id"] for one in shown["ancestors"]] == [str(run.reference_id)]


def test_text_on_demand_is_a_job(client: TestClient, session: Session, run: Run) -> None:
    body = {"checkpoint": str(run.reference_id), "prompt": "The door", "count": 2}
    answers = [client.post(f"{API}/generate", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    shown = client.get(f"{API}/jobs/{answers[1].json()['job']}").json()
    assert (shown["state"], shown["kind"], shown["result"]) == ("queued", "generate", None)
    jobs = session.scalars(select(Job).order_by(Job.step)).all()
    assert [(job.step, job.args["prompt"], job.args["count"]) for job in jobs] == [
        (0, "The door", 2),
        (1, "The door", 2),
    ]


@pytest.mark.parametrize("change", [{"prompt": " "}, {"count": 0}, {"count": 65}, {"prompt": "a\0b"}])
def test_text_on_demand_has_bounds(client: TestClient, run: Run, change: dict[str, Any]) -> None:
    body = {"checkpoint": str(run.reference_id), "prompt": "The door", "count": 2} | change
    assert client.post(f"{API}/generate", json=body).status_code == 422


def test_a_reward_model_writes_no_text(client: TestClient, session: Session, run: Run) -> None:
    judge = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL)
    session.commit()
    answer = client.post(f"{API}/generate", json={"checkpoint": str(judge.id), "prompt": "The door"})
    assert answer.status_code == 422
    assert "writes no text" in answer.json()["detail"]


def test_the_description_of_the_api_stands_where_promised(client: TestClient) -> None:
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    promised = {
        "/labelers": {"post"},
        "/runs": {"get", "post"},
        "/runs/{run_id}": {"get"},
        "/runs/{run_id}/pause": {"post"},
        "/runs/{run_id}/resume": {"post"},
        "/runs/{run_id}/stop": {"post"},
        "/runs/{run_id}/leases": {"post"},
        "/comparisons/{comparison_id}/labels": {"post"},
        "/comparisons/{comparison_id}/flag": {"post"},
        "/labels/{label_id}": {"delete"},
        "/runs/{run_id}/andon": {"post", "delete"},
        "/runs/{run_id}/metrics": {"get"},
        "/runs/{run_id}/labels": {"get"},
        "/runs/{run_id}/checkpoints": {"get"},
        "/checkpoints/{checkpoint_id}": {"get"},
        "/generate": {"post"},
        "/jobs/{job_id}": {"get"},
    }
    for path, methods in promised.items():
        assert methods <= set(paths[API + path])
