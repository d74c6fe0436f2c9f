"""Changing answers, pairs by strength, questions, guideline and practice, as people use them."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import andon, answers, guidelines
from app.db import session_scope
from app.models import Acknowledgement, Label, PracticeItem, Question, Role, Run, Sample, Verdict
from tests.browser.conftest import Site
from tests.browser.test_label_quality import BETWEEN_PRESSES_MS, make, open_desk, press, saved
from tests.factories import make_account, make_comparison, make_run

__all__ = ["make", "open_desk"]  # fixtures
pytestmark = pytest.mark.browser

Make = Callable[..., Run]
OpenDesk = Callable[[Run], Page]


def labels(database: Session) -> list[Label]:
    return list(database.scalars(select(Label).order_by(Label.created_at)))


def samples(page: Page) -> list[str]:
    return page.locator(".sample").all_text_contents()


def text_of(database: Session, label: Label) -> str:
    return database.scalars(select(Sample.text).where(Sample.id == label.chosen_sample_id)).one()


class TestChange:
    def test_an_answer_is_changed_by_a_new_revision(self, make: Make, open_desk: OpenDesk, database: Session) -> None:
        page = open_desk(make())
        first = samples(page)
        press(page, "1")
        waiting = samples(page)
        press(page, "l")
        expect(page.locator("#last-list .said")).to_have_text(first[0].strip())
        page.get_by_role("button", name="Change the answer").click()
        page.wait_for_timeout(BETWEEN_PRESSES_MS)
        assert samples(page) == first
        expect(page.locator(".card.earlier .badge")).to_have_text("1")
        press(page, "4")
        assert samples(page) == waiting
        saved(page)
        was, now = labels(database)
        assert (was.comparison_id, now.revision) == (now.comparison_id, 2)
        assert [text_of(database, was), text_of(database, now)] == [first[0], first[3]]
        expect(page.locator("#mine")).to_have_text("1")

    def test_it_can_be_left_as_it_is(self, make: Make, open_desk: OpenDesk, database: Session) -> None:
        page = open_desk(make())
        press(page, "1")
        waiting = samples(page)
        press(page, "l")
        page.get_by_role("button", name="Change the answer").click()
        press(page, "Escape")
        assert samples(page) == waiting
        saved(page)
        assert len(labels(database)) == 1

    def test_a_change_with_nothing_behind_it_ends_as_it_began(self, site: Site, page: Page) -> None:
        with session_scope(site.factory) as session:
            run = make_run(session)
            make_comparison(session, run)
        site.sign_in(page, site.account())
        page.goto(f"{site.url}/runs/{run.id}/label")
        expect(page.locator(".sample").first).not_to_be_empty()
        page.wait_for_timeout(BETWEEN_PRESSES_MS)
        press(page, "1")
        expect(page.locator("#empty")).to_be_visible()
        press(page, "l")
        press(page, "Enter")
        expect(page.locator("#changing")).to_be_visible()
        press(page, "2")
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("#changing")).to_be_hidden()
        expect(page.locator("#notice")).to_have_text("Changed.")

    def test_without_a_connection_changes_wait_in_order(
        self, make: Make, open_desk: OpenDesk, database: Session
    ) -> None:
        page = open_desk(make())
        page.route("**/api/**", lambda route: route.abort())
        press(page, "1")
        for key in "23":
            press(page, "l")
            page.get_by_role("button", name="Change the answer").click()
            page.wait_for_timeout(BETWEEN_PRESSES_MS)
            press(page, key)
        expect(page.locator("#save-text")).to_have_text("retrying (3 waiting)")
        page.reload()  # the outbox and the list of answers outlive the page
        page.unroute("**/api/**")
        saved(page)
        assert [label.revision for label in labels(database)] == [1, 2, 3]
        expect(page.locator("#mine")).to_have_text("1")
        expect(page.locator("#undo")).to_be_enabled()
        press(page, "z")
        saved(page)
        assert [label.verdict for label in labels(database)][-1] is Verdict.UNDONE

    def test_another_tab_knows_the_last_answers(self, make: Make, open_desk: OpenDesk) -> None:
        page = open_desk(make())
        for key in "12":
            press(page, key)
        saved(page)
        other = page.context.new_page()  # a new tab has nothing in its session storage
        other.goto(page.url)
        expect(other.locator("#undo-count")).to_have_text("2")
        other.close()

    def test_a_skip_can_be_explained(self, make: Make, open_desk: OpenDesk, database: Session) -> None:
        page = open_desk(make())
        press(page, "s")
        press(page, "w")
        page.get_by_label("The guideline does not tell").check()
        page.get_by_label("In your words").fill("two languages")
        press(page, "Enter")
        saved(page)
        first, second = labels(database)
        assert (first.verdict, second.verdict) == (Verdict.SKIP, Verdict.SKIP)
        assert (first.reason, second.reason) == (None, "unclear question: two languages")


class TestPairs:
    def test_nine_points(self, make: Make, open_desk: OpenDesk, database: Session) -> None:
        page = open_desk(make("sentiment-pairs-small"))
        shown = []
        for key in "1459":
            shown.append(samples(page))
            press(page, key)
        saved(page)
        found = labels(database)
        assert [(label.verdict, label.strength) for label in found] == [
            (Verdict.BEST, 4),
            (Verdict.BEST, 1),
            (Verdict.TIE, None),
            (Verdict.BEST, 4),
        ]
        sides = [
            None if one.chosen_sample_id is None else texts.index(text_of(database, one))
            for one, texts in zip(found, shown, strict=True)
        ]
        assert sides == [0, 0, None, 1]

    def test_by_click(self, make: Make, open_desk: OpenDesk, database: Session) -> None:
        page = open_desk(make("sentiment-pairs-small"))
        right = samples(page)[1]
        page.get_by_role("button", name="Second barely better").click()
        saved(page)
        (label,) = labels(database)
        assert (text_of(database, label), label.strength) == (right, 1)


def test_questions_are_stored_with_the_label(make: Make, open_desk: OpenDesk, database: Session) -> None:
    page = open_desk(make(questions=(Question.NAIVE, Question.WRONG, Question.BETTER, Question.OVERALL)))
    expect(page.locator("#prompt")).to_be_hidden()
    expect(page.locator("#naive textarea")).to_be_focused()
    expect(page.locator(".lead").first).to_be_hidden()  # the prompt's last words
    page.keyboard.type("Snow falls.")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_visible()
    expect(page.locator(".lead").first).to_be_visible()
    page.wait_for_timeout(BETWEEN_PRESSES_MS)
    press(page, "2")
    page.get_by_role("radio", name="6").check()
    page.get_by_label("What is wrong").fill("Too short.")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_hidden()  # of the next one: the answer is on its way
    saved(page)
    (label,) = labels(database)
    said = {"naive": "Snow falls.", "wrong": "Too short.", "overall": 6}
    assert answers.stored(database, {label.id}) == {label.id: said}


class TestGuideline:
    def test_is_read_once_and_a_new_version_again(
        self, site: Site, make: Make, open_desk: OpenDesk, database: Session
    ) -> None:
        run = make()
        page = open_desk(run)
        press(page, "1")
        saved(page)
        with session_scope(site.factory) as session:
            guidelines.publish(session, run.id, None, "# Only the happiest\n\nNothing <b>else</b>.")
        page.reload()
        expect(page.get_by_role("heading", name="Only the happiest")).to_be_visible()
        expect(page.locator(".guideline")).to_contain_text("<b>else</b>")  # no HTML of the author's gets through
        page.get_by_role("button", name="I have read it").click()
        expect(page.locator(".sample").first).not_to_be_empty()
        page.wait_for_timeout(BETWEEN_PRESSES_MS)
        press(page, "1")
        saved(page)
        read = list(database.scalars(select(Acknowledgement.guideline_id).order_by(Acknowledgement.created_at)))
        assert [label.guideline_id for label in labels(database)] == read

    def test_stands_beside_the_task(self, make: Make, open_desk: OpenDesk, database: Session) -> None:
        page = open_desk(make())
        page.set_viewport_size({"width": 1500, "height": 800})
        press(page, "g")
        expect(page.locator("#guide")).to_be_visible()
        press(page, "1")  # it is no dialog here: keys go on working
        saved(page)
        assert len(labels(database)) == 1


def test_a_cord_that_somebody_pulls_is_seen_by_all(site: Site, make: Make, open_desk: OpenDesk) -> None:
    run = make()
    page = open_desk(run)
    with session_scope(site.factory) as session:
        andon.pull(session, run.id, make_account(session, "Bob").id, "Only gibberish")
    expect(page.locator("#cord")).to_contain_text("Only gibberish")  # without a key pressed
    with session_scope(site.factory) as session:
        andon.release(session, run.id, make_account(session, "Rosa", Role.RESEARCHER).id, "mended")
    expect(page.locator("#cord")).to_be_hidden()


def test_practice_comes_first_and_explains(site: Site, make: Make, page: Page, database: Session) -> None:
    run = make(practice=True)
    site.sign_in(page, site.account())
    page.goto(f"{site.url}/runs/{run.id}/guideline")
    page.get_by_role("button", name="I have read it").click()
    page.wait_for_url("**/practice")

    def choose(right: bool) -> None:
        item = database.scalars(
            select(PracticeItem).where(PracticeItem.prompt == page.locator("#prompt").text_content())
        ).one()
        texts = [text.strip() for text in page.locator(".sample").all_text_contents()]
        place = texts.index(item.samples[item.best].strip())
        page.keyboard.press(str((place if right else (place + 1) % 4) + 1))
        expect(page.locator(".verdict")).to_contain_text(item.explanation)
        expect(page.locator(".verdict")).to_contain_text("Right." if right else "Not quite.")
        page.keyboard.press("Enter")
        expect(page.locator(".verdict")).to_have_count(0)

    choose(right=True)
    choose(right=False)
    expect(page.locator(".banner")).to_contain_text("You had 1 of 2 right, and 2 are needed.")
    answer = page.request.post(f"{site.url}/api/v1/runs/{run.id}/leases", data={"count": 1}).json()
    assert answer["leases"] == []
    assert answer["progress"]["waiting_for"].startswith("Practise first")
    choose(right=True)
    choose(right=True)
    expect(page.get_by_role("heading", name="Practice passed")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".sample").first).not_to_be_empty()
    assert labels(database) == []
