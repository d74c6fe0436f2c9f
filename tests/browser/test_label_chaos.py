"""Nothing lost, nothing doubled: a cut connection, a closed tab, a web server killed often, PostgreSQL restarted.

Run with `pytest -m slow tests/browser/test_label_chaos.py -s`; each test prints what it saw.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import accounts, migrating
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.embedded import Postgres
from app.hparams import PRESETS
from app.models import (
    Account,
    Comparison,
    ComparisonSample,
    Label,
    Prompt,
    Purpose,
    Role,
    Run,
    Sample,
    SamplePurpose,
    Split,
    Verdict,
)
from app.plant import children
from app.rules import load_rule
from app.settings import Settings, child_environment
from app.simulate.crowd import Options, Summary, simulate
from app.supervisor import Supervisor, launched
from app.web.deps import COOKIE
from tests.app.test_up import free_port
from tests.browser.conftest import Site
from tests.factories import make_account, make_comparison, make_run
from tests.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BETWEEN_PRESSES_MS = 300
CUT_SECONDS = 30
LABELS, KILLS, LABELERS = 2_000, 20, 8
SECONDS_PER_LABEL = 0.4


def hparams() -> dict[str, object]:
    """Without gold and repeats, which would bring texts back."""
    small = PRESETS["sentiment-small"]
    none = small.collection.model_copy(update={"gold_share": 0.0, "repeat_share": 0.0})
    return small.model_copy(update={"collection": none}).model_dump(mode="json")


def samples(page: Page) -> list[str]:
    return page.locator(".sample").all_text_contents()


def pick(page: Page, key: str) -> str | None:
    """Press a number; the text chosen, None if nothing was on the screen."""
    if page.locator("#empty").is_visible():
        return None
    before = samples(page)
    page.keyboard.press(key)
    page.wait_for_timeout(BETWEEN_PRESSES_MS)
    gone = page.locator("#empty").is_visible() or samples(page) != before
    return before[int(key) - 1] if gone else None


def chosen(session: Session, account: Account) -> list[str]:
    """What a labeler's labels name, in the order in which they came."""
    mine = select(Sample.text).join(Label, Label.chosen_sample_id == Sample.id).where(Label.labeler_id == account.id)
    return list(session.scalars(mine.order_by(Label.created_at)))


def test_a_network_cut_of_thirty_seconds_and_a_closed_tab(site: Site, page: Page, database: Session) -> None:
    with session_scope(site.factory) as session:
        run = make_run(session, hparams=hparams())
        for _ in range(30):
            make_comparison(session, run)
    ada = site.account()
    site.sign_in(page, ada)
    url = f"{site.url}/runs/{run.id}/label"
    page.goto(url)
    expect(page.locator(".sample").first).not_to_be_empty()
    page.wait_for_timeout(BETWEEN_PRESSES_MS)
    picked = [pick(page, key) for key in "1234"]
    expect(page.locator("#save")).to_have_attribute("data-state", "saved")

    page.context.set_offline(True)
    cut = time.monotonic()
    during = [text for key in "12341234" if (text := pick(page, key)) is not None]  # until none is left here
    assert 4 <= len(during) < 8
    expect(page.locator("#save")).to_have_attribute("data-state", "retrying")
    expect(page.locator("#empty-reason")).to_contain_text("Your answers are safe in this browser")
    while time.monotonic() - cut < CUT_SECONDS:
        page.wait_for_timeout(500)
    assert len(chosen(database, ada)) == 4
    page.context.set_offline(False)
    back = time.monotonic()
    expect(page.locator("#save")).to_have_attribute("data-state", "saved")
    print(f"cut for {CUT_SECONDS} s: {len(during)} answers waited, all saved {time.monotonic() - back:.1f} s after it")
    assert chosen(database, ada) == [*picked, *during]

    expect(page.locator(".sample").first).to_be_visible()
    page.wait_for_timeout(BETWEEN_PRESSES_MS)
    page.context.set_offline(True)
    last = [pick(page, key) for key in "21"]
    context = page.context
    page.close()
    assert chosen(database, ada) == [*picked, *during]
    context.set_offline(False)
    again = context.new_page()
    again.goto(url)
    expect(again.locator("#save")).to_have_attribute("data-state", "saved")
    wait_until("the answers of the closed tab", lambda: len(chosen(database, ada)) == 6 + len(during))
    assert chosen(database, ada) == [*picked, *during, *last]
    print("closed tab: 2 answers waited, both saved by the next one")


class Plant:
    """A durable PostgreSQL under a supervisor, and a web server as shipped that is started anew after each kill."""

    def __init__(self, home: Path, port: int) -> None:
        self.postgres = Postgres(data=home / "postgres")
        self.postgres.prepare()
        self.supervisor = Supervisor(home / "logs", print)
        self.supervisor.start(self.postgres.child())
        self.supervisor.wait("postgres", self.postgres.is_ready)
        self.postgres.ensure_database()
        nobody = "redis://127.0.0.1:9/0"  # labeling must work with the broker dead
        self.settings = Settings(home=home, port=port, database_url=self.postgres.url(), broker_url=nobody)
        self.url = f"http://127.0.0.1:{port}"
        self.log = (home / "web.txt").open("ab")
        (self.web_child,) = (child for child in children(self.settings) if child.name == "web")

    def start_web(self) -> None:
        self.web = subprocess.Popen(
            launched(self.web_child),
            env=child_environment(self.web_child.env),
            cwd=self.web_child.cwd,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill_web(self) -> None:
        """kill -9, and at once a new one."""
        os.killpg(self.web.pid, signal.SIGKILL)
        self.web.wait()
        self.start_web()

    def web_answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def restart_postgres(self, how: signal.Signals) -> None:
        """SIGINT ends it in order, SIGQUIT as a crash does; the supervisor starts it again."""
        os.kill(self.supervisor.pid("postgres"), how)
        wait_until("the end of PostgreSQL", lambda: not self.postgres.is_ready())
        self.supervisor.wait("postgres", self.postgres.is_ready)

    def stop(self) -> None:
        os.killpg(self.web.pid, signal.SIGKILL)
        self.web.wait()
        self.log.close()
        self.supervisor.stop()


@pytest.fixture
def plant() -> Iterator[Plant]:
    """Started, migrated, in a folder that PostgreSQL's own account can reach."""
    with tempfile.TemporaryDirectory(prefix="prefloop-chaos-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o711)
        made = Plant(home, free_port())
        engine = make_engine(made.settings.need_database_url(), pool_size=1)
        migrating.upgrade(engine)
        engine.dispose()
        made.start_web()
        wait_until("the web server", made.web_answers)
        yield made
        made.stop()


def seed(session: Session, count: int) -> Run:
    """A run with that many comparisons, each text of its own."""
    run = make_run(session, hparams=hparams())
    prompts = [
        Prompt(prompt_set="stories", text=f"Prompt {n} and", digest=f"{n}", split=Split.TRAIN) for n in range(count)
    ]
    session.add_all(prompts)
    session.flush()
    for number, prompt in enumerate(prompts):
        asked = Comparison(
            run_id=run.id, prompt_id=prompt.id, policy_id=run.serving_id, promotion=0, purpose=Purpose.TRAIN, wanted=1
        )
        written = [_sample(run, prompt, f" text {number} {'x' * slot}.") for slot in range(4)]
        session.add_all([asked, *written])
        session.flush()
        members = [ComparisonSample(comparison_id=asked.id, slot=s, sample_id=one.id) for s, one in enumerate(written)]
        session.add_all(members)
    session.flush()
    return run


def _sample(run: Run, prompt: Prompt, text: str) -> Sample:
    return Sample(
        run_id=run.id,
        prompt_id=prompt.id,
        policy_id=run.serving_id,
        purpose=SamplePurpose.COMPARISON,
        text=text,
        token_ids=[1],
        logprobs=[-1.0],
        kept_tokens=1,
        valid=True,
        temperature=0.7,
        seed=0,
    )


def _count(factory: SessionFactory) -> int | None:
    """Labels in the database; None while it is away."""
    try:
        with factory() as session:
            return session.scalar(select(func.count()).select_from(Label))
    except OperationalError:
        return None


def test_server_killed_twenty_times_and_database_restarted_twice(plant: Plant, browser: Browser) -> None:
    engine: Engine = make_engine(plant.settings.need_database_url(), pool_size=2)
    factory = make_session_factory(engine)
    with session_scope(factory) as session:
        run = seed(session, LABELS + 400)
        ada, boss = make_account(session), make_account(session, "Rosa", Role.RESEARCHER)
        cookie = accounts.open_session(session, ada.id, days=1)
        token = accounts.issue_token(session, boss.id, "chaos")
    options = Options(
        url=plant.url,
        token=token,
        rule=load_rule("longest"),
        run_id=str(run.id),
        labelers=LABELERS,
        labels=LABELS,
        seconds_per_label=SECONDS_PER_LABEL,
    )
    rng = random.Random(7)
    moments = sorted(rng.sample(range(50, LABELS - 50), KILLS))
    restarts = [(LABELS // 3, signal.SIGINT), (2 * LABELS // 3, signal.SIGQUIT)]
    stop = threading.Event()
    page = browser.new_context().new_page()
    page.context.add_cookies([{"name": COOKIE, "value": cookie, "url": plant.url}])
    page.goto(f"{plant.url}/runs/{run.id}/label")
    began, picked = time.monotonic(), list[str]()
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(simulate, options, stop, print)
        try:
            while not working.done():
                done = _count(factory) or 0
                if moments and done >= moments[0]:
                    moments.pop(0)
                    plant.kill_web()
                if restarts and done >= restarts[0][0]:
                    plant.restart_postgres(restarts.pop(0)[1])
                plant.supervisor.poll()
                if (text := pick(page, rng.choice("1234"))) is not None:
                    picked.append(text)
        finally:
            stop.set()
        summary: Summary = working.result()
    assert (moments, restarts) == ([], [])
    expect(page.locator("#save")).to_have_attribute("data-state", "saved", timeout=60_000)
    page.context.close()
    with session_scope(factory) as session:
        assert chosen(session, ada) == picked
        given = dict(session.execute(select(Account.name, func.count()).join(Label).group_by(Account.name)).all())
        verdicts = set(session.scalars(select(Label.verdict)))
        most = select(func.count()).select_from(Label).group_by(Label.comparison_id, Label.labeler_id)
        most_of_one = max(session.scalars(most))
        most_counted = session.scalar(select(func.max(Comparison.answers)))
    engine.dispose()
    assert {name: given[name] for name in summary.by_labeler} == summary.by_labeler
    assert summary.labels == LABELS
    assert (most_of_one, most_counted, verdicts) == (1, 1, {Verdict.BEST})
    print(
        f"{LABELS} labels of {LABELERS} programs and {len(picked)} of a browser in {time.monotonic() - began:.0f} s; "
        f"{KILLS} kills of the web server, 2 restarts of PostgreSQL; {summary.repeats} requests sent again; "
        "lost 0, doubled 0",
        file=sys.stderr,
    )
