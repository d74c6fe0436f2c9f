"""Simulated labelers against a real server over real sockets, one that restarts and one that loses answers."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
import uvicorn
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import accounts, rules, runs, simulate
from app.client import Transport
from app.errors import InvalidError, NotFoundError, UnauthorizedError
from app.main import create_app
from app.models import Label, Role, Run, Sample, Verdict
from app.settings import Settings
from app.simulate.labeler import Labeler
from app.simulate.tally import Tally
from tests.factories import make_account, make_comparison, make_run

TEXTS = ("I hate this.", "I love this wonderful day.", "A very, very long sentence about nothing.", "Fine.")


@contextmanager
def serving(app: ASGIApp, port: int) -> Iterator[str]:
    """A server on `port` (0: a free one) for as long as the block lasts."""
    config = uvicorn.Config(app, port=port, log_level="error", ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class LosingAnswers:
    """A bad network: of the answers to POST every third is lost after the server has done its work."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.posts = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self.posts += 1
        lost = self.posts % 3 == 0

        async def lossy(message: Message) -> None:
            if not lost:
                await send(message)

        await self.app(scope, receive, lossy)
        if lost:
            await send({"type": "http.response.start", "status": 502, "headers": []})
            await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
        return number


@pytest.fixture
def settings(database_url: str, tmp_path: Path, port: int) -> Settings:
    return Settings(home=tmp_path, database_url=database_url, broker_url=None, port=port)


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    for _ in range(40):
        make_comparison(session, made, texts=TEXTS)
    session.commit()
    return made


@pytest.fixture
def token(session: Session) -> str:
    secret = accounts.issue_token(session, make_account(session, role=Role.RESEARCHER).id, "test")
    session.commit()
    return secret


def options(port: int, token: str, **changes: object) -> simulate.Options:
    longest = rules.load_rule("longest")
    values = {"url": f"http://127.0.0.1:{port}", "token": token, "rule": longest, "seconds_per_label": 0.01}
    return simulate.Options(**values | changes)  # type: ignore[arg-type]


def one_label_each(session: Session) -> int:
    """How many labels there are, none of them on the same comparison as another."""
    total, comparisons = session.execute(
        select(func.count(), func.count(Label.comparison_id.distinct())).select_from(Label)
    ).one()
    assert total == comparisons
    return int(total)


@pytest.mark.usefixtures("run")
def test_labelers_choose_by_the_rule_and_stop_at_the_limit(
    settings: Settings, session: Session, token: str, port: int
) -> None:
    with serving(create_app(settings), port):
        told = simulate.simulate(options(port, token, labelers=3, labels=20), Event(), lambda _: None)
    assert told.labels == sum(told.by_labeler.values()) == one_label_each(session) == 20
    assert told.by_verdict == {"best": 20}
    chosen = session.scalars(select(Sample.text).join(Label, Label.chosen_sample_id == Sample.id)).all()
    assert set(chosen) == {max(TEXTS, key=len)}
    assert session.scalar(select(func.count(Label.labeler_id.distinct()))) == len(
        [count for count in told.by_labeler.values() if count]
    )


@pytest.mark.usefixtures("run")
def test_lost_answers_neither_lose_nor_double_labels(
    settings: Settings, session: Session, token: str, port: int
) -> None:
    with serving(LosingAnswers(create_app(settings)), port):
        told = simulate.simulate(options(port, token, labelers=2, labels=30), Event(), lambda _: None)
    assert told.repeats > 0
    assert told.labels == one_label_each(session) == 30


def test_nobody_leaves_before_the_last_label_is_given(settings: Settings, run: Run, token: str) -> None:
    """Who took it on may find nothing to label, because what there is lies with those who would leave."""
    tally, stop = Tally(limit=1), Event()
    with serving(create_app(settings), 0) as url:
        boss = Transport(url=url, token=token, wait=stop.wait)
        made = boss.call("POST", "/labelers", body={"name": "Ada"})
        boss.close()
        ada = Labeler(
            name="Ada",
            link=made["link"],
            token=made["token"],
            client=Transport(url=url, wait=stop.wait),
            run_id=str(run.id),
            rule=rules.load_rule("longest"),
            seconds_per_label=0.01,
            noise=0.0,
            rng=random.Random(0),
            tally=tally,
            stop=stop,
        )
        assert tally.promise()  # somebody else's
        working = threading.Thread(target=ada.work, daemon=True)
        working.start()
        working.join(timeout=1.0)
        assert working.is_alive()
        tally.break_promise()
        working.join(timeout=30)
        ada.client.close()
        assert not working.is_alive()
    assert tally.total == 1


@pytest.mark.usefixtures("run")
def test_a_restart_of_the_server_neither_loses_nor_doubles_labels(
    settings: Settings, session: Session, token: str, port: int
) -> None:
    summaries: list[simulate.Summary] = []
    wanted = options(port, token, labelers=2, labels=40, seconds_per_label=0.05)
    crowd = threading.Thread(
        target=lambda: summaries.append(simulate.simulate(wanted, Event(), lambda _: None)), daemon=True
    )
    with serving(create_app(settings), port):
        crowd.start()
        while not session.scalar(select(func.count(Label.id))):
            session.rollback()
            time.sleep(0.02)
    time.sleep(0.3)
    session.rollback()
    assert one_label_each(session) < 40
    with serving(create_app(settings), port):
        crowd.join(timeout=240)
    session.rollback()
    assert summaries[0].labels == one_label_each(session) == 40
    assert summaries[0].repeats > 0


def test_an_empty_queue_is_waited_for_until_the_run_ends(
    settings: Settings, session: Session, run: Run, token: str, port: int
) -> None:
    told: list[str] = []
    summaries: list[simulate.Summary] = []
    work = options(port, token, labelers=2)
    crowd = threading.Thread(target=lambda: summaries.append(simulate.simulate(work, Event(), told.append)))
    with serving(create_app(settings), port):
        crowd.start()
        while session.scalar(select(func.count(Label.id))) != 40:
            session.rollback()
            time.sleep(0.05)
        make_comparison(session, run, texts=TEXTS)
        session.commit()
        while session.scalar(select(func.count(Label.id))) != 41:
            session.rollback()
            time.sleep(0.05)
        assert crowd.is_alive()
        runs.stop(session, run.id, None)
        session.commit()
        crowd.join(timeout=30)
    assert summaries[0].labels == 41


@pytest.mark.usefixtures("run")
def test_noise_and_ties(settings: Settings, session: Session, token: str, port: int) -> None:
    def tie(_: str, __: object) -> str:
        return "tie"

    with serving(create_app(settings), port):
        wanted = options(port, token, labels=30, rule=tie, noise=0.5)
        told = simulate.simulate(wanted, Event(), lambda _: None)
    assert told.by_verdict["tie"] + told.by_verdict["best"] == 30
    assert 5 <= told.by_verdict["best"] <= 25
    assert session.scalar(select(func.count()).where(Label.verdict == Verdict.TIE)) == told.by_verdict["tie"]


@pytest.mark.usefixtures("run")
def test_what_cannot_work_is_said(settings: Settings, token: str, port: int) -> None:
    with serving(create_app(settings), port):
        with pytest.raises(UnauthorizedError):
            simulate.simulate(options(port, "wrong"), Event(), lambda _: None)
        unknown = options(port, token, run_id="00000000-0000-0000-0000-000000000000")
        with pytest.raises(NotFoundError, match="no such run"):
            simulate.simulate(unknown, Event(), lambda _: None)
        with pytest.raises(InvalidError, match="index from 0 to 3"):
            simulate.simulate(options(port, token, rule=lambda *_: 4), Event(), lambda _: None)


@pytest.mark.parametrize("change", [{"labelers": 0}, {"noise": 1.5}, {"seconds_per_label": -1}, {"labels": 0}])
def test_senseless_options_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        options(1, "t", **change)


def test_the_rules_choose_what_they_say() -> None:
    assert simulate.load_rule("vader")("", TEXTS) == 1
    assert simulate.load_rule("longest")("", TEXTS) == 2
    assert simulate.load_rule("tests.app.test_simulate:shortest")("", TEXTS) == 3


def shortest(_: str, texts: tuple[str, ...]) -> int:
    """A rule of somebody's own."""
    return texts.index(min(texts, key=len))


@pytest.mark.parametrize("name", ["nothing", "no.such.module:rule", "json:no_such", "json:__doc__"])
def test_a_rule_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InvalidError, match=name.split(":")[0]):
        simulate.load_rule(name)
