"""What the labeling page promises beside being right: for everybody, by keyboard, without moving, at once."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, ViewportSize, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import guidelines, labeling, practice
from app.db import session_scope
from app.hparams import PRESETS
from app.models import Label, Question, Role, Run, Verdict
from tests.browser.axe import PHONE, violations
from tests.browser.conftest import Site
from tests.browser.texts import posts, stories
from tests.factories import make_account, make_run

pytestmark = pytest.mark.browser

BETWEEN_PRESSES_MS = 300

WATCH_SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => window.shifts.push(
    [entry.value, entry.sources.map(({ node }) => node?.id || node?.className || node?.nodeName)],
  ))).observe({ type: "layout-shift", buffered: true });
}"""
"""Every shift, also those just after a key, which the usual score forgives."""

NEXT_FRAME = """(key) => new Promise((resolve) => {
  const words = () => document.querySelector("#prompt").textContent;
  const before = words();
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code: `Digit${key}`, bubbles: true }));
  requestAnimationFrame(() => resolve(words() !== before));
})"""
"""Whether another prompt stands there when the frame after the key is drawn."""


@pytest.fixture
def make(site: Site) -> Callable[..., Run]:
    """A run with texts and its guideline; `labeling` changes what labelers meet."""

    def make_one(preset: str = "sentiment-small", **labeling: Any) -> Run:
        hparams = PRESETS[preset]
        hparams = hparams.model_copy(update={"labeling": hparams.labeling.model_copy(update=labeling)})
        with session_scope(site.factory) as session:
            run = make_run(session, hparams=hparams.model_dump(mode="json"))
            (posts if preset == "tldr" else stories)(session, run)
            guidelines.publish(session, run.id, None, guidelines.shipped(hparams.labeling.guideline or ""))
            practice.equip(session, run, practice.shipped("sentiment")[:2], 4)
            return run

    return make_one


@pytest.fixture
def open_desk(site: Site, page: Page) -> Callable[[Run], Page]:
    """Sign in, say that the guideline is read, and wait for a comparison."""

    def open_one(run: Run) -> Page:
        site.sign_in(page, site.account())
        page.goto(f"{site.url}/runs/{run.id}/label")
        page.get_by_role("button", name="I have read it").click()
        expect(page.locator(".sample").first).not_to_be_empty()
        page.wait_for_timeout(BETWEEN_PRESSES_MS)
        return page

    return open_one


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)
    page.wait_for_timeout(BETWEEN_PRESSES_MS)


def saved(page: Page) -> None:
    expect(page.locator("#save")).to_have_attribute("data-state", "saved")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [ViewportSize(width=1280, height=800), PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_desk_and_its_dialogs(
    make: Callable[..., Run], open_desk: Callable[[Run], Page], scheme: Literal["light", "dark"], size: ViewportSize
) -> None:
    page = open_desk(make())
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    press(page, "1")
    saved(page)
    assert violations(page) == []
    for key in "hflag":
        page.keyboard.press(key)
        assert violations(page) == [], key
        page.keyboard.press("Escape" if key != "g" or size == PHONE else "g")


@pytest.mark.parametrize("preset", ["tldr", "sentiment-pairs-small"])
def test_axe_finds_nothing_on_summaries_and_pairs(
    make: Callable[..., Run], open_desk: Callable[[Run], Page], preset: str
) -> None:
    page = open_desk(make(preset, questions=tuple(Question)))
    assert violations(page) == []
    page.keyboard.press("Enter")
    press(page, "1")
    expect(page.locator("#ask-dialog")).to_be_visible()
    assert violations(page) == []


def test_axe_finds_nothing_on_the_pages_around_it(site: Site, make: Callable[..., Run], page: Page) -> None:
    page.goto(f"{site.url}/signin")
    assert violations(page) == []
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/label")
    assert violations(page) == []
    run = make(practice=True)
    for path in ("guideline", "practice", "me"):
        page.goto(f"{site.url}/runs/{run.id}/{path}")
        assert violations(page) == [], path
    page.goto(f"{site.url}/runs/{run.id}/practice")
    page.keyboard.press("1")
    expect(page.locator(".verdict")).to_be_visible()
    assert violations(page) == []
    page.goto(f"{site.url}/nowhere")
    assert violations(page) == []


def test_axe_finds_nothing_where_researchers_write_for_labelers(
    site: Site, make: Callable[..., Run], page: Page
) -> None:
    run = make(practice=True)
    with session_scope(site.factory) as session:
        ada = make_account(session)
        (got,) = labeling.lease(session, ada.id, run.id, count=1, lease_seconds=60)
        choice = got.samples[0][0]
        labeling.record(session, ada.id, got.comparison_id, verdict=Verdict.BEST, choice=choice, key="k")
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    for path in ("guideline/edit", "practice/edit", "gold"):
        page.goto(f"{site.url}/runs/{run.id}/{path}")
        assert violations(page) == [], path
    page.get_by_role("radio").first.check()
    page.get_by_label("Why it is the best").fill("It is clear.")
    page.get_by_role("button", name="Make it gold").click()
    expect(page.get_by_role("region", name="Gold comparison 1")).to_contain_text("It is clear.")
    assert violations(page) == []


@pytest.mark.parametrize("size", [ViewportSize(width=1280, height=800), PHONE], ids=["desktop", "phone"])
def test_nothing_moves_from_one_comparison_to_the_next(
    make: Callable[..., Run], open_desk: Callable[[Run], Page], size: ViewportSize
) -> None:
    page = open_desk(make())
    page.set_viewport_size(size)
    page.wait_for_timeout(BETWEEN_PRESSES_MS)
    page.evaluate(WATCH_SHIFTS)
    page.evaluate("window.shifts = []")
    for key in "12t3n4s":
        press(page, key)
    saved(page)
    assert page.evaluate("window.shifts") == []


def test_the_next_one_stands_there_in_the_next_frame(
    make: Callable[..., Run], open_desk: Callable[[Run], Page]
) -> None:
    page = open_desk(make())
    for key in "123":
        assert page.evaluate(NEXT_FRAME, key)
        page.wait_for_timeout(BETWEEN_PRESSES_MS)


def test_a_session_by_keyboard_alone(site: Site, make: Callable[..., Run], page: Page, database: Session) -> None:
    make()
    page.goto(site.link(site.account()))

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent.trim()").startswith(name):
                return
        pytest.fail(f"no way to {name!r} by Tab")

    tab_to("Sign in")
    page.keyboard.press("Enter")
    page.wait_for_url("**/guideline")
    tab_to("I have read it")
    page.keyboard.press("Enter")
    page.wait_for_url("**/label")
    expect(page.locator(".sample").first).not_to_be_empty()
    page.wait_for_timeout(BETWEEN_PRESSES_MS)

    press(page, "2")
    tab_to("3")  # the third card, by Tab and Enter instead of its key
    press(page, "Enter")
    press(page, "t")
    press(page, "z")
    press(page, "n")
    press(page, "l")
    press(page, "Enter")  # the newest answer is under the hand
    expect(page.locator("#changing")).to_be_visible()
    press(page, "1")
    expect(page.locator("#changing")).to_be_hidden()
    saved(page)
    verdicts = list(database.scalars(select(Label.verdict).order_by(Label.created_at)))
    assert verdicts == [Verdict.BEST, Verdict.BEST, Verdict.TIE, Verdict.UNDONE, Verdict.NONE, Verdict.BEST]


def test_a_screen_reader_hears_what_was_done(make: Callable[..., Run], open_desk: Callable[[Run], Page]) -> None:
    page = open_desk(make())
    press(page, "2")
    expect(page.locator("#live")).to_have_text("2 chosen. Next comparison.")
    press(page, "z")
    expect(page.locator("#live")).to_have_text("The last answer is taken back.")


def test_less_motion_means_none(make: Callable[..., Run], open_desk: Callable[[Run], Page]) -> None:
    page = open_desk(make())
    page.emulate_media(reduced_motion="reduce")
    page.keyboard.press("1")
    assert page.evaluate("document.getAnimations().length") == 0
