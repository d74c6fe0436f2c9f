"""Uploads and exports go when they are old and nobody needs them; what is in use stays."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app import leftovers, transfers, uploads
from app.errors import InvalidError
from app.kinds import JobKind
from app.models import JobState
from tests.leftover_files import asked, exported, uploaded

DAYS = 30


def test_what_was_not_used_for_long_goes(session: Session, tmp_path: Path) -> None:
    old = uploads.path_of(tmp_path, uploaded(tmp_path, "old.jsonl", days_ago=31)).parent
    young = uploads.path_of(tmp_path, uploaded(tmp_path, "young.jsonl", days_ago=29)).parent
    done = exported(session, tmp_path, JobState.DONE, days_ago=31)
    failed = exported(session, tmp_path, JobState.FAILED, days_ago=40)
    fresh = exported(session, tmp_path, JobState.DONE, days_ago=3)

    listed = leftovers.survey(session, tmp_path, days=DAYS)
    assert {one.path for one in listed} == {old, done, failed}
    assert all(one.path.exists() for one in listed), "a survey removes nothing"
    assert sorted(one.bytes for one in listed) == [50, 50, 100]
    assert any(str(one).endswith("(old.jsonl)") for one in listed)

    assert {one.path for one in leftovers.remove(session, tmp_path, days=DAYS)} == {old, done, failed}
    assert (old.exists(), done.exists(), failed.exists()) == (False, False, False)
    assert young.exists()
    assert fresh.exists()
    assert leftovers.survey(session, tmp_path, days=DAYS) == []


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_what_an_open_job_needs_stays_however_old(session: Session, tmp_path: Path, state: JobState) -> None:
    source = uploaded(tmp_path, "old.jsonl", days_ago=400)
    asked(session, JobKind.IMPORT_PROMPTS, source, JobState.DONE, days_ago=399)
    asked(session, JobKind.IMPORT_LABELS, source, state, days_ago=400)
    exported(session, tmp_path, state, days_ago=400)
    assert leftovers.remove(session, tmp_path, days=DAYS) == []


def test_an_upload_that_a_job_used_lately_stays(session: Session, tmp_path: Path) -> None:
    source = uploaded(tmp_path, "old.jsonl", days_ago=400)
    asked(session, JobKind.IMPORT_LABELS, source, JobState.DONE, days_ago=2)
    assert leftovers.survey(session, tmp_path, days=DAYS) == []


def test_an_upload_that_is_named_again_begins_its_days_anew(session: Session, tmp_path: Path) -> None:
    source = uploaded(tmp_path, "old.jsonl", days_ago=400)
    transfers.require_reachable(tmp_path, source)
    assert leftovers.survey(session, tmp_path, days=DAYS) == []
    leftovers.remove(session, tmp_path, days=0)
    with pytest.raises(InvalidError, match="upload the file again"):
        transfers.require_reachable(tmp_path, source)


def test_a_home_without_files_has_no_leftovers(session: Session, tmp_path: Path) -> None:
    assert leftovers.remove(session, tmp_path / "nowhere", days=DAYS) == []
