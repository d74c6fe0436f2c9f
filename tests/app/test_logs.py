"""Lines of the log: one per event, ours and our libraries', with what they are about, without what people wrote."""

import logging

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import logs
from tests.logged import logging_to_memory

log = structlog.get_logger()


def test_every_line_of_json_says_what_it_is_about() -> None:
    with logging_to_memory() as out, logs.about(request_id="r-1", job=None):
        log.info("done", count=3)
        logging.getLogger("somebody.else").warning("careful with %s", "that")
    ours, theirs = out.events()
    assert (ours["event"], ours["count"], ours["level"], ours["request_id"]) == ("done", 3, "info", "r-1")
    assert (theirs["event"], theirs["logger"], theirs["request_id"]) == ("careful with that", "somebody.else", "r-1")
    assert "job" not in ours
    assert logs.request_id() is None


def test_on_a_terminal_lines_are_for_people() -> None:
    with logging_to_memory("text") as out:
        log.warning("broker_unreachable", messages=2)
        logging.getLogger("uvicorn.error").info("Started server process")
    first, second = out.getvalue().splitlines()
    assert "broker_unreachable" in first
    assert "messages=2" in first
    assert not first.startswith("{")
    assert "Started server process" in second


def test_lines_without_colour_are_those_of_the_consoles_renderer() -> None:
    console = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    values: tuple[object, ...] = ("plain", "two words", "it's", "a=b", "", 1.5, None, ["x"], "née\n")
    with logging_to_memory("text") as out:
        for value in values:
            log.warning("some event", b=value, a=1, route="/runs/{run_id}")
    lines = out.getvalue().splitlines()
    assert len(lines) == len(values)
    for line, value in zip(lines, values, strict=True):
        told = {"timestamp": line.split(" ")[0], "level": "warning", "event": "some event", "a": 1, "b": value}
        assert line == console(log, "warning", told | {"route": "/runs/{run_id}"})


def test_less_than_the_level_is_not_written() -> None:
    with logging_to_memory(level="WARNING") as out:
        log.info("quiet")
        logging.getLogger("somebody.else").info("quiet")
    assert out.getvalue() == ""


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_refused_row_and_the_variables_of_a_trace_stay_out(session: Session, style: logs.Style) -> None:
    insert = text("insert into prompt (id, prompt_set, text, digest) values (gen_random_uuid(), 'x', :words, 'd')")
    words = "-".join(("PRIVATE", "WORDS"))  # nowhere whole in this file, whose lines stand in the trace
    with logging_to_memory(style) as out:
        with pytest.raises(IntegrityError) as refused:
            session.execute(insert, {"words": words})
        assert words in str(refused.value.orig), "PostgreSQL quotes the row: else this would show nothing"
        log.error("went_wrong", error=str(refused.value), exc_info=refused.value)
    assert "IntegrityError" in out.getvalue()
    assert "not-null" in out.getvalue()
    assert words not in out.getvalue()
