"""Pictures of what researchers see, to look at and for the documentation: `PICTURES=docs/images pytest -m slow ...`."""

import os
import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Checkpoint, CheckpointKind, Role, Run, Sample, SamplePurpose, SampleReading, SampleScore
from tests.browser.conftest import Site
from tests.browser.seeding import seed_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go."""
    made = Path(os.environ.get("PICTURES", tmp_path))
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture
def run(session: Session) -> Run:
    """A run in mid-course whose showcase was read and scored."""
    made = seed_run(session)
    for sample in session.scalars(select(Sample).where(Sample.purpose == SamplePurpose.SHOWCASE)):
        read(session, made, sample)
    session.commit()
    return made


def read(session: Session, run: Run, sample: Sample) -> None:
    """Readings as a policy leaves them: most words as before, some much likelier."""
    source, tuned = random.Random(sample.text), sample.policy_id != run.reference_id
    ends = [match.end() for match in re.finditer(r"\s*\w+|\s*[^\w\s]", sample.text)]
    happy = re.compile(r"happ|joy|lov|laugh|cheer|warm|glad|thank|delight|kind|sweet")
    pieces = [sample.text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    kl = [(source.gauss(0.1, 0.5) + 3.0 * bool(happy.search(piece))) * tuned for piece in pieces]
    session.add(SampleReading(sample_id=sample.id, kl=sum(kl), token_kl=kl, token_ends=ends))
    score = source.gauss(1.6 if tuned else 0.0, 0.6)
    session.add(SampleScore(sample_id=sample.id, reward_model_id=run.reward_model_id, score=score))


def shoot(page: Page, path: Path, size: dict[str, int] = WIDE) -> None:
    """One picture; what is wider than the window fails."""
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.screenshot(path=path)


@pytest.fixture
def researcher(site: Site, page: Page) -> Page:
    """A browser that is signed in."""
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    return page


def test_samples_side_by_side(site: Site, researcher: Page, session: Session, run: Run, folder: Path) -> None:
    newest = session.scalars(
        select(Checkpoint.id)
        .where(Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.POLICY)
        .order_by(Checkpoint.number.desc())
    ).first()
    researcher.goto(f"{site.url}/runs/{run.id}/samples?left={newest}&right={run.reference_id}&order=highest_kl")
    shoot(researcher, folder / "cockpit-samples.png")
    shoot(researcher, folder / "cockpit-samples-phone.png", PHONE)
