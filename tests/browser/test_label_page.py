"""The labeling page as people use it, and what it leaves in the database."""

from typing import Literal
from uuid import UUID

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import session_scope
from app.models import (
    Andon,
    Assignment,
    AssignmentState,
    Audit,
    Comparison,
    ComparisonState,
    Label,
    Phase,
    Run,
    Sample,
    Verdict,
)
from app.usable import count_training
from tests.browser.conftest import Site
from tests.factories import make_comparison, make_run
from tests.processes import wait_until

pytestmark = pytest.mark.browser

BETWEEN_PRESSES_MS = 300
"""More than what the page takes for a double press."""

AWAY = """() => {
  const now = Date.now();
  Date.now = () => now + 300_000;
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Five minutes pass, and somebody comes back to the page."""

CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return channels(getComputedStyle(document.documentElement).backgroundColor);
  };
  const written = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.body.querySelectorAll("*")]
    .filter((e) => written(e) && e.checkVisibility() && !e.closest(":disabled, script, noscript"))
    .map((e) => {
      const [a, b] = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
      return [e.textContent.trim(), (a + 0.05) / (b + 0.05)];
    });
}"""


@pytest.fixture
def run(site: Site) -> Run:
    """A run with twenty comparisons ready."""
    with session_scope(site.factory) as session:
        made = make_run(session)
        for _ in range(20):
            make_comparison(session, made)
        return made


@pytest.fixture
def desk(site: Site, run: Run, page: Page) -> Page:
    """The page, with a comparison on it."""
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/runs/{run.id}/label")
    ready(page)
    return page


def ready(page: Page) -> None:
    expect(page.locator(".sample").first).not_to_be_empty()
    page.wait_for_timeout(BETWEEN_PRESSES_MS)


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)
    page.wait_for_timeout(BETWEEN_PRESSES_MS)


def samples(page: Page) -> list[str]:
    return page.locator(".sample").all_text_contents()


def saved(page: Page) -> None:
    expect(page.locator("#save")).to_have_attribute("data-state", "saved")


def retrying(page: Page, waiting: int) -> None:
    expect(page.locator("#save-text")).to_have_text(f"retrying ({waiting} waiting)")


def labels(database: Session) -> list[Label]:
    return list(database.scalars(select(Label).order_by(Label.created_at)))


def chosen_texts(database: Session) -> list[str]:
    chosen = select(Sample.text).join(Label, Label.chosen_sample_id == Sample.id)
    return list(database.scalars(chosen.order_by(Label.created_at)))


def test_sign_in_by_link_label_ten_undo_one(site: Site, run: Run, page: Page, database: Session) -> None:
    ada = site.account()
    page.goto(site.link(ada))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/label")
    ready(page)

    picked = []
    for key in "1234123412":
        picked.append(samples(page)[int(key) - 1])
        press(page, key)
    saved(page)
    assert chosen_texts(database) == picked

    press(page, "z")
    assert picked[-1] in samples(page)
    again = samples(page)[3]
    press(page, "4")
    saved(page)

    rows = labels(database)
    assert [label.verdict for label in rows] == [Verdict.BEST] * 10 + [Verdict.UNDONE, Verdict.BEST]
    assert chosen_texts(database) == [*picked, again]
    assert [label.revision for label in rows[-3:]] == [1, 2, 3]
    assert len({label.comparison_id for label in rows}) == 10
    assert {label.labeler_id for label in rows} == {ada.id}
    assert all(label.milliseconds and label.milliseconds > 0 for label in rows if label.verdict is Verdict.BEST)
    assert count_training(database, run.id) == 10
    expect(page.locator("#mine")).to_have_text("10")


def test_the_order_on_the_screen_is_the_one_stored(desk: Page, database: Session) -> None:
    first = database.scalars(select(Assignment).order_by(Assignment.created_at).limit(1)).one()
    texts = dict(database.execute(select(Sample.id, Sample.text)).all())
    assert samples(desk) == [texts[sample_id] for sample_id in first.shown]


def test_the_next_one_needs_no_network(desk: Page) -> None:
    desk.route("**/api/**", lambda route: route.abort())
    seen = [samples(desk)]
    for key in "123":
        desk.keyboard.press(key)
        seen.append(samples(desk))
        desk.wait_for_timeout(BETWEEN_PRESSES_MS)
    assert len({tuple(texts) for texts in seen}) == 4
    retrying(desk, 3)


def test_nothing_is_lost_while_the_server_is_away_not_even_by_a_reload(desk: Page, database: Session) -> None:
    desk.route("**/labels", lambda route: route.abort())
    picked = []
    for key in "321":
        picked.append(samples(desk)[int(key) - 1])
        press(desk, key)
    retrying(desk, 3)
    desk.reload()
    ready(desk)
    retrying(desk, 3)
    assert labels(database) == []
    desk.unroute("**/labels")
    saved(desk)
    assert chosen_texts(database) == picked


def test_an_answer_whose_confirmation_was_lost_is_stored_once(desk: Page, database: Session) -> None:
    def swallow(route: Route) -> None:
        route.fetch()
        route.abort()

    desk.route("**/labels", swallow, times=2)
    press(desk, "1")
    retrying(desk, 1)
    saved(desk)
    assert len(labels(database)) == 1


def test_an_answer_taken_back_on_its_way_is_taken_back(desk: Page, database: Session) -> None:
    desk.route("**/labels", lambda route: route.abort())
    press(desk, "1")
    retrying(desk, 1)
    first = samples(desk)
    press(desk, "2")
    press(desk, "z")  # the second never left the browser
    assert samples(desk) == first
    press(desk, "Backspace")  # the first may have arrived
    press(desk, "3")
    desk.unroute("**/labels")
    saved(desk)
    assert [label.verdict for label in labels(database)] == [Verdict.BEST, Verdict.UNDONE, Verdict.BEST]


def test_undo_reaches_ten_back_and_over_a_reload(desk: Page, database: Session) -> None:
    seen = []
    for _ in range(11):
        seen.append(samples(desk))
        press(desk, "1")
    saved(desk)
    desk.reload()
    ready(desk)
    for expected in reversed(seen[1:]):
        press(desk, "z")
        assert samples(desk) == expected
    expect(desk.locator("#undo")).to_be_disabled()
    saved(desk)
    assert sum(label.verdict is Verdict.UNDONE for label in labels(database)) == 10


def test_tie_none_skip_and_click(desk: Page, database: Session) -> None:
    for key in "tns":
        press(desk, key)
    picked = samples(desk)[2]
    desk.locator(".card").nth(2).click()
    saved(desk)
    assert [label.verdict for label in labels(database)] == [Verdict.TIE, Verdict.NONE, Verdict.SKIP, Verdict.BEST]
    assert chosen_texts(database) == [picked]
    expect(desk.locator("#mine")).to_have_text("3")


def test_double_presses_and_modifiers_do_nothing(desk: Page, database: Session) -> None:
    desk.keyboard.press("1")
    desk.keyboard.press("1")
    desk.wait_for_timeout(BETWEEN_PRESSES_MS)
    for key in ("Control+2", "Alt+2", "Meta+2", "Control+z"):
        press(desk, key)
    saved(desk)
    assert [label.verdict for label in labels(database)] == [Verdict.BEST]


def test_flag_with_a_reason(desk: Page, database: Session) -> None:
    before = samples(desk)
    press(desk, "f")
    desk.get_by_label("Broken text").check()
    desk.get_by_label("Note").fill("1 2 3 z")
    desk.keyboard.press("Enter")
    desk.wait_for_timeout(BETWEEN_PRESSES_MS)
    assert samples(desk) != before
    saved(desk)
    flagged = select(Audit.detail["reason"].astext).where(Audit.action == "comparison.flagged")
    assert database.scalars(flagged).one() == "broken text: 1 2 3 z"
    assert database.scalars(select(Comparison.state).where(Comparison.state == ComparisonState.FLAGGED)).one()
    assert labels(database) == []


def test_stop_the_line_asks_first(desk: Page, database: Session) -> None:
    press(desk, "a")
    desk.keyboard.press("Escape")
    expect(desk.locator("#pull-dialog")).to_be_hidden()
    assert database.scalars(select(Andon)).all() == []
    desk.get_by_role("button", name="Stop the line").click()
    desk.get_by_label("What have you seen?").fill("Only gibberish since noon")
    desk.locator("#pull-dialog").get_by_role("button", name="Stop the line").click()
    expect(desk.locator("#cord")).to_contain_text("Only gibberish since noon")
    assert database.scalars(select(Andon.reason)).one() == "Only gibberish since noon"


def test_cards_keep_their_place(desk: Page) -> None:
    def places() -> list[object]:
        return [desk.locator(".card").nth(place).bounding_box() for place in range(4)]

    before = places()
    for key in "1234ts":
        press(desk, key)
        assert places() == before


def test_says_why_there_is_nothing_and_goes_on_by_itself(site: Site, page: Page) -> None:
    with session_scope(site.factory) as session:
        run = make_run(session, phase=Phase.PAUSED, note="lunch")
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/label")
    expect(page.locator("#empty")).to_contain_text("paused: lunch")
    for part in ("#prompt-box", "#question", "#cards"):
        expect(page.locator(part)).to_be_hidden()
    with session_scope(site.factory) as session:
        make_comparison(session, run, texts=("a", "b", "c", "d"))
    for part in ("#prompt-box", "#question", "#cards"):
        expect(page.locator(part)).to_be_visible()
    assert sorted(samples(page)) == ["a", "b", "c", "d"]


def test_on_a_phone_the_reason_stands_in_view(site: Site, page: Page) -> None:
    with session_scope(site.factory) as session:
        make_run(session, phase=Phase.PAUSED, note="lunch")
    page.set_viewport_size({"width": 375, "height": 812})
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/label")
    expect(page.locator("#empty-reason")).to_contain_text("paused: lunch")
    foot = page.locator(".foot").bounding_box()
    told = page.locator("#empty-reason").bounding_box()
    assert foot is not None
    assert told is not None
    assert told["y"] + told["height"] <= foot["y"]


def test_without_a_run(site: Site, page: Page) -> None:
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/label")
    expect(page.get_by_role("heading", name="No run to label for")).to_be_visible()


def test_shows_nothing_that_could_sway(run: Run, desk: Page) -> None:
    with desk.expect_response("**/leases") as answered:
        desk.reload()
    body = answered.value.json()
    assert {key for lease in body["leases"] for key in lease} == {
        "assignment",
        "comparison",
        "prompt",
        "samples",
        "expires_at",
    }
    assert {key for lease in body["leases"] for sample in lease["samples"] for key in sample} == {"id", "text"}
    assert isinstance(run.serving_id, UUID)
    assert str(run.serving_id) not in desk.content() + answered.value.text()


def test_another_tab_moves_on_too(desk: Page) -> None:
    other = desk.context.new_page()
    other.goto(desk.url)
    ready(other)
    assert samples(other) == samples(desk)
    press(desk, "1")
    assert samples(other) == samples(desk)
    other.close()


def test_what_a_closed_tab_leaves_behind_is_sent_by_another(desk: Page, database: Session) -> None:
    other = desk.context.new_page()
    other.goto(desk.url)
    ready(other)
    other.route("**/labels", lambda route: route.abort())
    picked = []
    for key in "24":
        picked.append(samples(other)[int(key) - 1])
        press(other, key)
    retrying(other, 2)
    assert labels(database) == []
    other.close(run_before_unload=True)
    wait_until("the answers of the closed tab", lambda: len(labels(database)) == 2)
    assert chosen_texts(database) == picked
    saved(desk)


def test_whoever_comes_back_after_a_while_finds_what_was_on_the_screen(desk: Page, database: Session) -> None:
    """Words that somebody was reading stay where they are; what went to others meanwhile does not come."""
    before = samples(desk)
    held = database.scalars(select(Assignment).order_by(Assignment.created_at)).all()
    desk.evaluate("window.read = document.querySelector('.sample').firstChild")
    lost = held[1]
    taken = update(Assignment).where(Assignment.id == lost.id).values(state=AssignmentState.EXPIRED)
    database.execute(taken)
    database.execute(
        update(Comparison).where(Comparison.id == lost.comparison_id).values(state=ComparisonState.LABELED)
    )
    with desk.expect_response("**/leases"):
        desk.evaluate(AWAY)
    desk.wait_for_timeout(BETWEEN_PRESSES_MS)
    assert samples(desk) == before
    assert desk.evaluate("window.read.isConnected")
    press(desk, "1")
    texts = dict(database.execute(select(Sample.id, Sample.text)).all())
    assert samples(desk) == [texts[sample_id] for sample_id in held[2].shown]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(desk: Page, scheme: Literal["light", "dark"]) -> None:
    desk.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    written = desk.evaluate(CONTRASTS)
    for key in "hfa":
        desk.keyboard.press(key)
        written += desk.evaluate(CONTRASTS)
        desk.keyboard.press("Escape")
    assert len(written) > 100
    assert [(text, ratio) for text, ratio in written if ratio < 4.5] == []


def test_fits_a_phone(desk: Page) -> None:
    desk.set_viewport_size({"width": 375, "height": 812})
    assert desk.evaluate("document.documentElement.scrollWidth") == 375
    lefts = {box["x"] for place in range(4) if (box := desk.locator(".card").nth(place).bounding_box())}
    assert len(lefts) == 1
