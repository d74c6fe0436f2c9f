"""Pictures of what researchers see, to look at and for the documentation: `PICTURES=docs/images pytest -m slow ...`."""

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import contests, exclusions, labeling, probes, quality
from app.kinds import Split, Verdict
from app.models import (
    Account,
    Assignment,
    Checkpoint,
    CheckpointKind,
    ComparisonSample,
    Contest,
    ContestItem,
    JobState,
    Purpose,
    Role,
    Run,
    Sample,
    SamplePurpose,
    SampleReading,
    SampleScore,
)
from tests.browser.conftest import Site
from tests.browser.seeding import seed_run
from tests.factories import make_account, make_comparison, make_prompt

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 120_000
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
    page.set_default_timeout(PATIENCE_MS)
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


def test_what_leaving_a_labeler_out_would_change(
    site: Site, researcher: Page, session: Session, run: Run, folder: Path
) -> None:
    ada = session.scalars(select(Account).where(Account.name == "Ada")).one()
    job = exclusions.consider(session, run.id, ada.id)
    job.state, job.finished_at = JobState.DONE, job.created_at
    shares = {"accuracy": 0.462, "accuracy_without": 0.497, "accuracy_fewer": 0.448}
    counts = {"labels": 477, "theirs": 159, "others": 318, "held_out": 318, "gained": 24, "lost": 13}
    changes = {
        "change": {"value": 0.035, "low": 0.003, "high": 0.068},
        "change_fewer": {"value": -0.014, "low": -0.049, "high": 0.021},
        "loss_change": {"value": -0.041, "low": -0.073, "high": -0.009},
    }
    job.result = shares | counts | changes
    session.commit()
    researcher.goto(f"{site.url}/runs/{run.id}/labelers/{ada.id}#without")
    shoot(researcher, folder / "cockpit-without.png")


def test_win_rate_and_score_against_kl(site: Site, researcher: Page, session: Session, run: Run, folder: Path) -> None:
    for _ in range(20):
        make_prompt(session, split=Split.TEST)
    people = [make_account(session, name) for name in ("Dora", "Emil", "Finn")]
    source, better, scores = random.Random(3), (0.62, 0.74, 0.81, 0.77, 0.66, 0.48), (0.7, 1.2, 1.6, 1.9, 2.1, 2.2)
    for number, (share, score) in enumerate(zip(better, scores, strict=True)):
        policy = session.scalars(
            select(Checkpoint).where(
                Checkpoint.run_id == run.id,
                Checkpoint.kind == CheckpointKind.POLICY,
                Checkpoint.number == number,
            )
        ).one()
        policy.report = {"kl": 1.5 + 2.2 * number, "score": score}
        asked = {"prompts": 20, "per_side": 1, "labelers": 3, "seed": 0}
        made = contests.create(
            session, run.id, left=f"policy {number}", right="reference", own_session=True, **asked, actor_id=None
        )
        _answer(session, run, made, people, source, share, score)
    session.commit()
    researcher.goto(f"{site.url}/runs/{run.id}/contests")
    shoot(researcher, folder / "cockpit-over-optimization.png", {"width": 1280, "height": 1150})


def _answer(
    session: Session, run: Run, made: Contest, people: list[Account], source: random.Random, share: float, score: float
) -> None:
    made.written_at = session.scalar(select(func.clock_timestamp()))
    for _ in range(20):
        one = make_comparison(session, run, texts=("left", "right"), purpose=Purpose.SESSION, wanted=3)
        samples = list(
            session.scalars(
                select(ComparisonSample.sample_id)
                .where(ComparisonSample.comparison_id == one.id)
                .order_by(ComparisonSample.slot)
            )
        )
        session.add(ContestItem(comparison_id=one.id, contest_id=made.id, left_samples=samples[:1]))
        for sample, mean in zip(samples, (score, 0.0), strict=True):
            scored = {"sample_id": sample, "reward_model_id": run.reward_model_id}
            session.add(SampleScore(score=source.gauss(mean, 0.8), **scored))
        for person in people:
            lent = {"comparison_id": one.id, "labeler_id": person.id, "expires_at": func.clock_timestamp()}
            session.add(Assignment(shown=samples, **lent))
            one.leased += 1
            session.flush()
            choice = samples[source.random() > share]
            said = {"verdict": Verdict.BEST, "choice": choice, "key": str(one.id)}
            labeling.record(session, person.id, one.id, **said)  # type: ignore[arg-type]


def test_the_page_of_a_run(site: Site, researcher: Page, session: Session, run: Run, folder: Path) -> None:
    job = probes.ask(session, run.id)
    job.state, job.finished_at = JobState.DONE, job.created_at
    found = (("edited_better", 0), ("shuffled_sentences", 41), ("shuffled_words", 228), ("copied_prompt", 256))
    job.result = {"probes": [_probe(name, n, random.Random(name)) for name, n in found]}
    session.commit()
    researcher.set_viewport_size({"width": 1280, "height": 1000})
    researcher.goto(f"{site.url}/runs/{run.id}")
    researcher.wait_for_selector("#plot-labels .trace")
    shoot(researcher, folder / "cockpit-workers.png", {"width": 1280, "height": 1000})
    researcher.locator("#probes").scroll_into_view_if_needed()
    shoot(researcher, folder / "cockpit-probes.png", {"width": 1280, "height": 500})


def _probe(name: str, n: int, source: random.Random) -> dict[str, Any]:
    if n == 0:
        return {"name": name, "n": 0}
    hits = round(n * source.uniform(0.7, 0.95))
    told = quality.share(hits, n)
    share = {"value": told.value, "low": told.low, "high": told.high}
    return {"name": name, "n": n, "share": share, "difference": {"value": 0.9, "low": 0.7, "high": 1.1}, "examples": []}
