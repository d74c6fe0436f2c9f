"""The page of a run in a real browser: it follows the run by itself and disturbs nobody who looks."""

import time
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kinds import JobKind
from app.models import Andon, Job, JobState, Metric, Phase, Role, Run
from tests.browser.conftest import Site
from tests.browser.seeding import EPISODES, seed_run

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A page of a seeded run, and what its browser complained about."""

    page: Page
    run: Run
    complaints: list[str]


@pytest.fixture
def board(page: Page, site: Site) -> Page:
    """A researcher's browser."""
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    page.set_viewport_size({"width": 1280, "height": 1600})
    page.set_default_timeout(PATIENCE_MS)
    return page


@pytest.fixture
def opened(board: Page, site: Site, session: Session) -> Opened:
    """The page, its curves drawn."""
    run = seed_run(session)
    session.commit()
    complaints = list[str]()
    board.on("console", lambda message: complaints.extend(_complaint(message)))
    board.goto(f"{site.url}/runs/{run.id}")
    board.wait_for_selector("#plot-kl .trace")
    return Opened(page=board, run=run, complaints=complaints)


def _complaint(message: ConsoleMessage) -> list[str]:
    return [message.text] if message.type in ("error", "warning") else []


def plot(page: Page, name: str, what: str) -> Any:
    """A part of what Plotly shows."""
    return page.evaluate(f"document.getElementById('plot-{name}').{what}")


def until(page: Page, name: str, what: str, value: object) -> None:
    """Wait for it; Playwright's own waiting needs eval, which the page forbids."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while plot(page, name, what) != value:
        assert time.monotonic() < end, f"{name}: {what} is {plot(page, name, what)}, not {value}"
        page.wait_for_timeout(100)


def test_shows_the_run_and_breaks_no_rule_of_the_browser(opened: Opened) -> None:
    expect(opened.page.locator("#link-state")).to_have_text("live")
    expect(opened.page.locator("#tiles")).to_contain_text("2,048 of 4,000")
    expect(opened.page.locator("#jobs")).to_contain_text("train policy")
    expect(opened.page.locator("#workers")).to_contain_text("NVIDIA H100: 31.0 GiB of 80.0 GiB")
    heads = opened.page.locator("table.samples thead th")
    expect(heads).to_have_text(["prompt", "policy 5", "policy 4", "policy 3", "reference"])
    expect(opened.page.locator("table.checkpoints tbody tr")).to_have_count(14)
    assert plot(opened.page, "kl", "data[0].x.length") == EPISODES // 32
    assert opened.complaints == []


def test_follows_by_itself_and_keeps_the_zoom(opened: Opened, session: Session) -> None:
    opened.page.evaluate("Plotly.relayout('plot-kl', {'xaxis.range': [500, 900], 'yaxis.range': [4, 7]})")
    opened.run.episodes, opened.run.waiting_for = 2080, "12 more labels"
    session.add(Metric(run_id=opened.run.id, name="objective/kl", step=2080, value=6.0))
    session.commit()
    expect(opened.page.locator("#tiles")).to_contain_text("2,080 of 4,000", timeout=PATIENCE_MS)
    expect(opened.page.locator("#tiles")).to_contain_text("waiting for 12 more labels")
    until(opened.page, "kl", "data[0].x.at(-1)", 2080)
    assert plot(opened.page, "kl", "layout.xaxis.range") == [500, 900]
    assert plot(opened.page, "kl", "layout.yaxis.range") == [4, 7]


def test_marks_every_reward_training_and_promotion(opened: Opened) -> None:
    until(opened.page, "score", "layout?.shapes.length", 13)
    opened.page.get_by_text("time", exact=True).click()
    until(opened.page, "score", "layout.xaxis.title.text", "local time")


def test_polls_while_the_stream_is_down(board: Page, site: Site, session: Session) -> None:
    run = seed_run(session)
    session.commit()
    board.route("**/events", lambda route: route.abort())
    board.goto(f"{site.url}/runs/{run.id}")
    expect(board.locator("#link-state")).to_have_text("polling", timeout=PATIENCE_MS)
    run.episodes = 2080
    session.commit()
    expect(board.locator("#tiles")).to_contain_text("2,080 of 4,000", timeout=PATIENCE_MS)


def test_pulls_and_releases_the_cord(opened: Opened, session: Session) -> None:
    page = opened.page
    page.get_by_role("button", name="Pull the cord").click()
    page.get_by_label("What is wrong?").fill("It only writes about cats")
    page.locator("#ask-yes").click()
    expect(page.locator("#andon")).to_contain_text("Rosa: “It only writes about cats”", timeout=PATIENCE_MS)
    expect(page.locator("#phase")).to_have_text("line stopped")
    page.get_by_role("button", name="Release").first.click()
    page.get_by_label("What was found").fill("One odd sample")
    page.locator("#ask-yes").click()
    expect(page.locator("#andon")).to_be_hidden(timeout=PATIENCE_MS)
    pulled = session.scalars(select(Andon).where(Andon.run_id == opened.run.id)).one()
    assert (pulled.note, pulled.released_at is not None) == ("One odd sample", True)


def test_errors_of_failed_and_retried_jobs_are_told_and_stay_open(opened: Opened, session: Session) -> None:
    page, told = opened.page, opened.page.locator("#failed details")
    job = session.scalars(select(Job).where(Job.run_id == opened.run.id, Job.kind == JobKind.TRAIN_POLICY)).one()
    job.failures, job.error = 1, "Traceback ...\nOutOfMemoryError: 3 GiB wanted"
    session.commit()
    expect(told).to_contain_text("failed 1× and is tried again: OutOfMemoryError: 3 GiB wanted", timeout=PATIENCE_MS)
    told.locator("summary").click()
    failed = {"state": JobState.FAILED, "attempt": 3, "failures": 3, "error": "OSError: disk full"}
    session.add(Job(run_id=opened.run.id, kind=JobKind.SCORE, step=2, **failed))
    session.commit()
    expect(told).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("#failed")).to_contain_text("score 3 failed after 3 attempts: OSError: disk full")
    expect(page.locator("#failed details[open]")).to_contain_text(["OutOfMemoryError"])


def test_draws_at_most_ten_times_a_second(opened: Opened) -> None:
    drawn = opened.page.evaluate("""async () => {
        let drawn = 0;
        document.getElementById("plot-kl").on("plotly_afterplot", () => { drawn += 1; });
        const end = performance.now() + 2000;
        while (performance.now() < end) {
            for (const axis of document.querySelectorAll("input[name=axis]")) axis.dispatchEvent(new Event("change"));
            await new Promise((done) => setTimeout(done, 5));
        }
        return drawn;
    }""")
    assert 1 <= drawn <= 20


def test_goes_back_to_the_reference(opened: Opened, session: Session) -> None:
    page, run = opened.page, opened.run
    row = page.locator("table.checkpoints tbody tr").filter(has=page.locator("th", has_text="reference"))
    row.get_by_role("button", name="go back to it").click()
    page.get_by_label("Why?").fill("Begin anew")
    page.locator("#ask-yes").click()
    expect(page.locator("#tiles")).to_contain_text("0 of 4,000", timeout=PATIENCE_MS)
    session.refresh(run)
    assert (run.episodes, run.training_state_id, run.serving_id) == (0, None, run.reference_id)


def test_pauses_and_resumes(opened: Opened, session: Session) -> None:
    page = opened.page
    page.get_by_role("button", name="Pause").click()
    page.locator("#ask-yes").click()
    expect(page.locator("#phase")).to_have_text("paused", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#phase")).to_have_text("running", timeout=PATIENCE_MS)
    phases = select(func.count()).select_from(Run).where(Run.id == opened.run.id, Run.phase == Phase.RUNNING)
    assert session.scalar(phases) == 1


def test_nothing_hangs_over_the_edge(opened: Opened) -> None:
    for width in (390, 768, 1280):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.page.wait_for_timeout(700)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
