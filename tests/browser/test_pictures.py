"""Pictures of what labelers see, to look at and for the documentation: `PICTURES=docs/images pytest -m slow ...`."""

import os
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from app import guidelines, practice
from app.db import session_scope
from app.hparams import PRESETS
from app.models import Question, Run
from tests.browser.conftest import Site
from tests.browser.texts import posts, stories
from tests.factories import make_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE, DESKTOP = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=800)
WIDE = ViewportSize(width=1600, height=900)
Scheme = Literal["light", "dark"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go."""
    made = Path(os.environ.get("PICTURES", tmp_path))
    made.mkdir(exist_ok=True)
    return made


def make(site: Site, preset: str, **labeling: Any) -> Run:
    """A run with texts, its guideline and its practice set."""
    hparams = PRESETS[preset]
    hparams = hparams.model_copy(update={"labeling": hparams.labeling.model_copy(update=labeling)})
    with session_scope(site.factory) as session:
        run = make_run(session, hparams=hparams.model_dump(mode="json"), name="Happier stories")
        (posts if preset == "tldr" else stories)(session, run)
        guidelines.publish(session, run.id, None, guidelines.shipped(hparams.labeling.guideline or ""))
        practice.equip(session, run, practice.shipped("sentiment"), 4)
        return run


def open_desk(site: Site, page: Page, run: Run) -> None:
    """Sign in, read the guideline, label."""
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/runs/{run.id}/label")
    if "/guideline" in page.url:
        page.get_by_role("button", name="I have read it").click()
    expect(page.locator(".sample").first).not_to_be_empty()
    page.wait_for_timeout(300)


def shoot(page: Page, path: Path, *, size: ViewportSize, scheme: Scheme = "light") -> None:
    """One picture; what is wider than the window fails."""
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.screenshot(path=path)


def test_the_labeling_page(site: Site, page: Page, folder: Path) -> None:
    open_desk(site, page, make(site, "sentiment-small"))
    shoot(page, folder / "label.png", size=DESKTOP)
    shoot(page, folder / "label-dark.png", size=DESKTOP, scheme="dark")
    shoot(page, folder / "label-phone.png", size=PHONE)
    shoot(page, folder / "label-phone-dark.png", size=PHONE, scheme="dark")
    page.set_viewport_size(WIDE)
    page.keyboard.press("g")
    page.keyboard.press("d")
    shoot(page, folder / "label-guideline.png", size=WIDE)
    page.keyboard.press("g")
    for key in "12t":
        page.keyboard.press(key)
        page.wait_for_timeout(300)
    page.keyboard.press("l")
    shoot(page, folder / "label-last.png", size=DESKTOP)
    page.get_by_role("button", name="Change").nth(1).click()
    page.wait_for_timeout(300)
    shoot(page, folder / "label-change.png", size=DESKTOP)


def test_summaries(site: Site, page: Page, folder: Path) -> None:
    open_desk(site, page, make(site, "tldr"))
    shoot(page, folder / "label-summaries.png", size=WIDE)
    shoot(page, folder / "label-summaries-phone.png", size=PHONE)


def test_pairs(site: Site, page: Page, folder: Path) -> None:
    open_desk(
        site, page, make(site, "sentiment-pairs-small", questions=(Question.NAIVE, Question.WRONG, Question.OVERALL))
    )
    shoot(page, folder / "label-naive.png", size=DESKTOP)
    page.keyboard.press("Enter")
    shoot(page, folder / "label-pairs.png", size=DESKTOP)
    shoot(page, folder / "label-pairs-phone.png", size=PHONE)
    page.set_viewport_size(DESKTOP)
    page.keyboard.press("2")
    expect(page.locator("#ask-dialog")).to_be_visible()
    shoot(page, folder / "label-questions.png", size=DESKTOP)


def test_practice(site: Site, page: Page, folder: Path) -> None:
    run = make(site, "sentiment-small", practice=True)
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/runs/{run.id}/label")
    shoot(page, folder / "guideline.png", size=DESKTOP)
    page.get_by_role("button", name="I have read it").click()
    page.wait_for_url("**/practice")
    page.keyboard.press("1")
    expect(page.locator(".verdict")).to_be_visible()
    shoot(page, folder / "practice.png", size=DESKTOP)
    shoot(page, folder / "practice-phone.png", size=PHONE)
    page.goto(f"{site.url}/runs/{run.id}/me")
    shoot(page, folder / "my-work.png", size=DESKTOP)
