"""Playground and samples in a real browser, with real jobs on a tiny model."""

import time
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.db import SessionFactory, session_scope
from app.hparams import planned
from app.kinds import JobKind, Split
from app.models import Checkpoint, Job, JobState, Role
from tests.browser.conftest import Site
from tests.factories import make_checkpoint, make_prompt, make_run
from tests.tiny import save_tiny_model
from workers import fencing
from workers.handlers import HANDLERS
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import load_tokenizer
from workers.published import publish
from workers.work import Work
from workers.workshop import Workshop

pytestmark = pytest.mark.browser

TASK = {"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1, "temperature": 1.0}
SECONDS = 60


class Trainer:
    """A trainer beside the site: does the jobs that are queued, as its worker would."""

    def __init__(self, factory: SessionFactory, home: Path) -> None:
        self.factory, self.workshop = factory, Workshop(home)

    def work(self, kind: JobKind, jobs: int) -> None:
        """Do so many jobs of a kind, waiting for them to be asked for."""
        until = time.monotonic() + SECONDS
        while jobs:
            with session_scope(self.factory) as session:
                queued = select(Job.id).where(Job.kind == kind, Job.state == JobState.QUEUED).limit(1)
                id_ = session.scalar(queued)
                claim = fencing.claim(session, id_, worker="tiny", stale_seconds=30) if id_ else None
            if claim is not None:
                HANDLERS[kind](
                    Work(claim=claim, factory=self.factory, workshop=self.workshop, should_stop=lambda: False)
                )
                jobs -= 1
            assert time.monotonic() < until, f"nobody asked for {kind}"
            time.sleep(0.05)


@pytest.fixture
def trainer(site: Site, tmp_path: Path) -> Trainer:
    """With a run of a tiny model and one policy."""
    torch.manual_seed(0)
    made = Trainer(site.factory, tmp_path / "home")
    base, tuned = save_tiny_model(tmp_path / "base"), save_tiny_model(tmp_path / "tuned", seed=1)
    digest = publish(made.workshop.store, Policy(LanguageModel.load(tuned)), load_tokenizer(tuned))
    with session_scope(site.factory) as session:
        hparams = planned("sentiment-small", {"task": TASK}).model_dump(mode="json")
        run = make_run(session, name="tiny", base_model=str(base), hparams=hparams)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(base)
        policy = make_checkpoint(session, run, number=0, digest=digest)
        run.serving_id = policy.id
        for number in range(3):
            make_prompt(session, text=f"the sun was {'in ' * number}and she", split=Split.TEST)
    return made


def run_url(site: Site, trainer: Trainer) -> str:
    with session_scope(trainer.factory) as session:
        return f"{site.url}/runs/{session.scalars(select(Checkpoint.run_id)).first()}"


def test_a_prompt_of_ones_own_is_continued_by_both_writers(site: Site, page: Page, trainer: Trainer) -> None:
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    page.goto(f"{run_url(site, trainer)}/playground")
    expect(page.get_by_label("Left")).to_contain_text("reference")
    page.get_by_label("Prompt").fill("she was happy and")
    page.get_by_role("button", name="Continue it").click()
    expect(page.locator("#out-left")).to_contain_text("is writing")
    trainer.work(JobKind.GENERATE, jobs=2)
    for side, name in (("left", "reference"), ("right", "policy 0")):
        out = page.locator(f"#out-{side}")
        expect(out.locator("p")).to_have_count(4)
        expect(out.locator("strong")).to_have_text(name)
    assert page.locator("#out-left p").all_text_contents() != page.locator("#out-right p").all_text_contents()


def test_two_writers_write_and_their_tokens_show_how_far_they_are_apart(
    site: Site, page: Page, trainer: Trainer
) -> None:
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    page.goto(f"{run_url(site, trainer)}/samples")
    page.get_by_label("Written by").select_option("policy 0")
    page.get_by_label("Beside, on the same prompts").select_option("reference")
    page.get_by_role("button", name="Look").click()
    for name in ("policy 0", "reference"):
        page.get_by_role("button", name=f"Let {name} continue them").click()
        expect(page.get_by_text("Writing;")).to_be_visible()
        trainer.work(JobKind.SHOWCASE, jobs=1)
        expect(page.get_by_text("Done.")).to_be_visible()
    expect(page.locator(".browsed")).to_have_count(3)
    first = page.locator(".browsed").first
    expect(first.locator("h2")).to_have_text(["policy 0", "reference"])
    assert first.locator(".kl").count() >= 4
    expect(page.get_by_text("KL 0.0 nats").first).to_be_visible()  # the reference is no nat from itself
