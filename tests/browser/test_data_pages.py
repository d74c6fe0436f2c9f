"""Data in and out in a browser, as researchers do it; the jobs are done as workers do them."""

import hashlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import session_scope
from app.models import Job, JobState, Label, Role, Run
from tests.browser.axe import everywhere, picture
from tests.browser.conftest import Site
from tests.factories import make_checkpoint, make_prompt, make_run
from tests.tiny import save_tiny_model
from tests.workers.transfers.carried import errand_on
from workers.label_source import Remapper
from workers.nets.tokenizer import load_tokenizer
from workers.transfers import labels_in, labels_out

pytestmark = pytest.mark.browser

GOOD = [{"prompt": f"the sun {n}", "samples": [" home", " rain", " door", " sun"], "best": n} for n in range(4)]


@pytest.fixture
def run(site: Site) -> Run:
    with session_scope(site.factory) as session:
        made = make_run(session, name="Happier stories")
        make_checkpoint(session, made, number=1, episodes=64)
        make_prompt(session)
        return made


@pytest.fixture
def rosa(site: Site, page: Page) -> Page:
    """A researcher's browser."""
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    return page


def newest(database: Session) -> Job:
    return database.scalars(select(Job).order_by(Job.created_at.desc()).limit(1)).one()


def test_labels_go_in_by_way_of_a_dry_run_and_out_with_a_hash(
    site: Site, run: Run, rosa: Page, database: Session, tmp_path: Path
) -> None:
    page, home = rosa, tmp_path
    tokenizer = load_tokenizer(save_tiny_model(tmp_path / "tiny"))
    remapper = Remapper(tokenizer, tokenizer)
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in [*GOOD[:2], GOOD[0] | {"best": 7}, *GOOD[2:]]))

    page.goto(f"{site.url}/data")
    page.get_by_role("link", name="Labels in").click()
    page.get_by_label("File:").set_input_files(file)
    picture(page, "data-labels-in")
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Import labels, dry run: queued")
    labels_in.import_labels(errand_on(site.factory, newest(database).id, home), remapper)
    expect(page.get_by_role("heading", level=1)).to_have_text("Import labels, dry run: done")  # by itself
    expect(page.locator(".faults li")).to_contain_text("mine.jsonl, line 3")
    assert list(database.scalars(select(Label))) == []
    assert everywhere(page) == {}
    picture(page, "data-dry-run")

    page.get_by_role("button", name="Import the good ones").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Import labels: queued")
    labels_in.import_labels(errand_on(site.factory, newest(database).id, home), remapper)
    expect(page.get_by_role("heading", level=1)).to_have_text("Import labels: done")
    assert len(list(database.scalars(select(Label)))) == len(GOOD)

    page.goto(f"{site.url}/data/labels/out?run={run.id}")
    page.get_by_label("Format").select_option("best_of_4")
    page.get_by_label("imported", exact=False).first.check()
    page.get_by_role("button", name="Export").click()
    labels_out.export_labels(errand_on(site.factory, newest(database).id, home))
    expect(page.get_by_role("heading", level=1)).to_have_text("Export labels: done")
    with page.expect_download() as fetched:
        page.get_by_role("link", name="labels.jsonl").click()
    text = fetched.value.path().read_bytes()
    assert [json.loads(line)["best"] for line in text.splitlines()] == [0, 1, 2, 3]
    expect(page.locator("td code").first).to_have_text(hashlib.sha256(text).hexdigest())
    assert everywhere(page) == {}
    picture(page, "data-export")


def test_every_form_is_for_everybody(site: Site, run: Run, rosa: Page) -> None:
    page = rosa
    with session_scope(site.factory) as session:
        args = {"order": {"prompt_set": "mine", "source": f"upload:{'0' * 32}/posts of the whole of last year.jsonl"}}
        job = Job(kind="import_prompts", step=0, args=args, state=JobState.RUNNING, progress={"done": 1200})
        session.add(job)
    for path in ("", "/prompts", "/labels/in", f"/labels/out?run={run.id}", "/models", f"/jobs/{job.id}"):
        page.goto(f"{site.url}/data{path}")
        for summary in page.locator("summary").all():
            summary.click()
        assert everywhere(page) == {}, path
        picture(page, f"data{path.replace('/', '-')}"[:16])


def test_a_mistake_is_said_beside_what_was_filled_in(site: Site, run: Run, rosa: Page) -> None:
    page = rosa
    page.goto(f"{site.url}/data/models?run={run.id}")
    page.get_by_label("Send it to").fill("my model")
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was started")
    expect(page.get_by_label("Send it to")).to_have_value("my model")
