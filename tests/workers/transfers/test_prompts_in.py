"""Prompts in: all or exactly the good ones, equal ones once, on from where it was killed."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import datasets
import pytest
from sqlalchemy import select

from app import transfers
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import TaskHParams
from app.models import Job, JobState, Prompt
from app.orders import Like, PromptOrder, RowFormat
from app.texts import digest_of, split_of
from tests.tiny import save_tiny_model
from tests.workers.transfers.carried import errand_on, result_of
from workers.nets.tokenizer import load_tokenizer
from workers.queries import cutter
from workers.transfers import prompts_in

ARTICLE = "LONDON, England (CNN) -- The bridge number {n} opens in May.\n\n\n\nNobody ‘objected’."


def ask(factory: SessionFactory, source: object, **fields: Any) -> UUID:
    order = PromptOrder(**{"prompt_set": "mine", "source": str(source)} | fields)
    with session_scope(factory) as session:
        return transfers.import_prompts(session, order, account_id=None).id


def bring(
    factory: SessionFactory, source: object, home: Path, cut: Callable[[str], str | None] | None = None, **fields: Any
) -> dict[str, Any]:
    job_id = ask(factory, source, **fields)
    prompts_in.import_prompts(errand_on(factory, job_id, home), cut)
    return result_of(factory, job_id)


def stored(factory: SessionFactory) -> dict[str, Prompt]:
    with session_scope(factory) as session:
        return {prompt.text: prompt for prompt in session.scalars(select(Prompt))}


def lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_equal_texts_come_once_and_splits_follow_the_text(session_factory: SessionFactory, tmp_path: Path) -> None:
    texts = [f"Text {n} opened." for n in range(700)]
    path = lines(tmp_path / "a.jsonl", [*texts, "TEXT 3   opened.", *texts[:10]])
    done = bring(session_factory, path, tmp_path)
    assert (done["added"], done["known"], done["bad"]) == (700, 11, 0)
    found = stored(session_factory)
    assert set(found) == set(texts)
    assert all(prompt.split == split_of(digest_of(text)) for text, prompt in found.items())
    assert done["splits"] == {split: [p.split for p in found.values()].count(split) for split in done["splits"]}
    again = bring(session_factory, path, tmp_path)
    assert (again["added"], again["known"]) == (0, 711)


def test_longer_texts_are_cut_and_those_without_an_edge_left_out(
    session_factory: SessionFactory, tmp_path: Path
) -> None:
    """From behind the first `door` to the last `home` among eight tokens: as the task of a run says."""
    task = TaskHParams(question="?", query_tokens=8, query_start=" door", query_end=" home")
    cut = cutter(load_tokenizer(save_tiny_model(tmp_path / "tiny")), task)
    longer = ["the door she was home in rain home and", "a door she was home in rain home", "the sun", "door it was"]
    done = bring(session_factory, lines(tmp_path / "a.jsonl", longer), tmp_path, cut)
    assert {text.strip() for text in stored(session_factory)} == {"she was home in rain home"}
    assert (done["added"], done["uncut"], done["known"]) == (1, 2, 1)


BAD = ['{"text": "one"}', '{"text": 5}', "{", '{"text": "a\\u0000b"}', '{"other": "x"}', '{"text": " "}', "17", '"two"']
CAUSES = {
    2: "its text is int, not a string",
    3: "not JSON",
    4: "its text holds a NUL character",
    5: "no text",
    6: "its text is blank",
    7: "it is int, not a string or an object",
}


def test_bad_rows_import_nothing_and_are_each_named(session_factory: SessionFactory, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(BAD))
    job_id = ask(session_factory, path)
    with pytest.raises(InvalidError, match="6 of 8 rows are bad, so nothing was imported") as refused:
        prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path))
    for line, cause in CAUSES.items():
        assert f"line {line}: {cause}" in str(refused.value)
    assert stored(session_factory) == {}


def test_exactly_the_good_rows_are_kept_when_asked(session_factory: SessionFactory, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(BAD))
    done = bring(session_factory, path, tmp_path, keep_good=True)
    assert set(stored(session_factory)) == {"one", "two"}
    assert (done["added"], done["bad"], len(done["faults"])) == (2, 6, 6)


def test_a_dry_run_counts_what_an_import_then_does(session_factory: SessionFactory, tmp_path: Path) -> None:
    bring(session_factory, lines(tmp_path / "old.jsonl", ["Text 1.", "Text 2."]), tmp_path)
    path = lines(tmp_path / "a.jsonl", [f"Text {n % 1200}." for n in range(1500)])
    foretold = bring(session_factory, path, tmp_path, dry_run=True)
    assert len(stored(session_factory)) == 2
    done = bring(session_factory, path, tmp_path)
    assert len(stored(session_factory)) == 1200
    assert foretold == done | {"dry_run": True}
    assert (done["added"], done["known"]) == (1198, 302)


def test_a_killed_import_goes_on_behind_its_last_row(session_factory: SessionFactory, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [f"Text {n}." for n in range(1800)])
    job_id = ask(session_factory, path)
    looks = iter([False, False, True])
    prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path, should_stop=lambda: next(looks)))
    assert len(stored(session_factory)) == 2 * prompts_in.CHUNK
    with session_scope(session_factory) as session:
        job = session.get_one(Job, job_id)
        assert job.state == JobState.QUEUED
        assert job.progress is not None
        assert job.progress["done"] == 2 * prompts_in.CHUNK
    prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path))
    assert result_of(session_factory, job_id)["added"] == 1800
    assert len(stored(session_factory)) == 1800


def test_it_leaves_when_its_time_is_up(session_factory: SessionFactory, tmp_path: Path) -> None:
    job_id = ask(session_factory, lines(tmp_path / "a.jsonl", ["One.", "Two."]))
    prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path), seconds=0.0)
    assert stored(session_factory) == {}
    prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path), seconds=60.0)
    assert set(stored(session_factory)) == {"One.", "Two."}


def test_a_copy_of_a_known_data_set_is_cleaned_and_keeps_its_references(
    session_factory: SessionFactory, tmp_path: Path
) -> None:
    rows = [{"article": ARTICLE.format(n=n), "highlights": f"Bridge {n} opens.", "id": f"x{n}"} for n in range(3)]
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "copy")
    bring(session_factory, tmp_path / "copy", tmp_path, like=Like.CNNDM)
    found = stored(session_factory)
    prompt = found["The bridge number 2 opens in May.\n\nNobody 'objected'."]
    assert (prompt.reference, prompt.info) == ("Bridge 2 opens.", {"id": "x2"})
    assert len(found) == 3


def test_story_files_bring_their_highlights(session_factory: SessionFactory, tmp_path: Path) -> None:
    (tmp_path / "stories").mkdir()
    (tmp_path / "stories" / "a.story").write_text(ARTICLE.format(n=1) + "\n\n@highlight\n\nIt opens")
    bring(session_factory, tmp_path / "stories", tmp_path, like=Like.CNNDM, format=RowFormat.FILES)
    (prompt,) = stored(session_factory).values()
    assert prompt.text.endswith("Nobody 'objected'.")
    assert prompt.reference == "It opens."


def test_sentences_of_books_become_passages(session_factory: SessionFactory, tmp_path: Path) -> None:
    sentences = [f"{'He walked on and on . ' * 9}Page {n} ." for n in range(40)]
    bring(session_factory, lines(tmp_path / "a.jsonl", [{"text": s} for s in sentences]), tmp_path, like=Like.BOOKS)
    passages = [prompt.text for prompt in stored(session_factory).values()]
    assert sorted(" ".join(passages).split("Page")) == sorted(" ".join(sentences).split("Page"))
    assert len(passages) == 4
    assert all(2000 <= len(text) < 2300 for text in passages)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_a_missing_column_is_named_with_those_there_are(
    session_factory: SessionFactory, tmp_path: Path, name: str
) -> None:
    table = datasets.Dataset.from_list([{"article": "A bridge.", "id": 1}])
    write: dict[str, Callable[[Path], object]] = {
        "a.csv": lambda path: table.to_csv(path, index=False),
        "a.parquet": table.to_parquet,
        "a.jsonl": table.to_json,
    }
    write[name](tmp_path / name)
    job_id = ask(session_factory, tmp_path / name)
    with pytest.raises(InvalidError, match="no column text, but article, id: name the one"):
        prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path))
    assert bring(session_factory, tmp_path / name, tmp_path, column="article")["added"] == 1


def test_a_file_of_the_worker_is_no_hub_id(
    session_factory: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes over HTTP as `ready.json` must not read the file of that name beside the worker."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ready.json").write_text('["secret"]')
    job_id = ask(session_factory, "ready.json")
    with pytest.raises(InvalidError, match="lies in the worker's own folder"):
        prompts_in.import_prompts(errand_on(session_factory, job_id, tmp_path))
