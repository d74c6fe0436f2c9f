"""What the journal promises: whole events or none, one process at a time, nothing misread."""

from pathlib import Path

import pytest

from app.errors import ConflictError, InvalidError
from app.kinds import Verdict
from workers.offline.events import AnyEvent, Held, Labeled, Promoted
from workers.offline.journal import NAME, Journal

EVENTS: list[AnyEvent] = [
    Promoted(),
    Held(reason="its KL\nis high"),
    Labeled(comparison=3, verdict=Verdict.BEST, best=1),
]


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new")
    journal.append(EVENTS[:1])
    journal.append(EVENTS[1:])
    journal.close()
    again = Journal(tmp_path / "new")
    assert again.read() == EVENTS
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line_is_taken_off_and_the_next_event_stands_on_a_line_of_its_own(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path)
    journal.append(EVENTS)
    journal.close()
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:-cut])
    again = Journal(tmp_path)
    assert again.read() == EVENTS[:2]
    again.append(EVENTS[2:])
    again.close()
    assert (tmp_path / NAME).read_bytes() == whole


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(ConflictError, match="Another process"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


@pytest.mark.parametrize("line", ["{", '{"kind": "unheard"}', '{"kind": "promoted", "more": 1}'])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    journal = Journal(tmp_path)
    journal.append(EVENTS[:1])
    with (tmp_path / NAME).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidError, match="line 2"):
        journal.read()
    journal.close()
