"""Prompts: equal texts are one, splits are fixed for ever, the least asked come first."""

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import prompts, texts
from app.errors import InvalidError
from app.models import Prompt, Split
from tests.factories import make_comparison, make_prompt, make_run


def test_case_and_white_space_do_not_make_another_prompt() -> None:
    expected = hashlib.sha256(b"the door opened.").hexdigest()
    assert texts.digest_of("  The door\n opened. ") == expected == texts.digest_of("THE DOOR opened.")
    assert texts.digest_of("The door opened") != expected


@pytest.mark.parametrize(
    ("digest", "split"),
    [
        ("00000000", Split.TEST),
        ("26666665", Split.TEST),  # 0x26666666 / 2**32 = 0.1499999998, the last below 0.15
        ("26666667", Split.VALID),
        ("3fffffff", Split.VALID),
        ("40000000", Split.TRAIN),  # exactly a quarter
        ("ffffffff", Split.TRAIN),
    ],
)
def test_the_split_is_read_off_the_digest(digest: str, split: Split) -> None:
    assert texts.split_of(digest.ljust(64, "0")) == split


def test_splits_have_their_shares() -> None:
    splits = [texts.split_of(texts.digest_of(f"text {n}")) for n in range(4000)]
    shares = {split: splits.count(split) / 4000 for split in Split}
    assert shares == pytest.approx({Split.TRAIN: 0.75, Split.VALID: 0.10, Split.TEST: 0.15}, abs=0.02)


def test_importing_twice_adds_once(session: Session) -> None:
    texts = [f"Story {n} began" for n in range(2500)]
    assert prompts.import_texts(session, "mine", texts) == prompts.Imported(added=2500, known=0)
    assert prompts.import_texts(session, "mine", ["STORY 7  began", "New", "new"]) == prompts.Imported(added=1, known=2)
    assert prompts.import_texts(session, "other", texts[:3]).added == 3
    assert sum(prompts.counts(session, "mine").values()) == 2501


def test_the_text_is_kept_as_given(session: Session) -> None:
    prompts.import_texts(session, "mine", ["  Once, there \n was "])
    assert session.scalar(select(Prompt.text)) == "  Once, there \n was "


@pytest.mark.parametrize("bad", ["", "  \n", "a\0b"])
def test_a_text_that_cannot_be_a_prompt_is_named(session: Session, bad: str) -> None:
    with pytest.raises(InvalidError, match="Prompt 2"):
        prompts.import_texts(session, "mine", ["good", bad])


def test_lines_and_json_lines_are_read(tmp_path: Path) -> None:
    plain, lines = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("One door\n\nTwo\u2028doors\n", encoding="utf-8")
    lines.write_text('{"text": "One door", "x": 1}\n\n"Two\u2028doors"\n', encoding="utf-8")
    assert texts.read_file(plain) == texts.read_file(lines) == ["One door", "Two\u2028doors"]


@pytest.mark.parametrize("bad", ["{", "3", "{}", '{"text": 5}', '{"text": " "}'])
def test_a_bad_line_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps("good") + "\n" + bad + "\n")
    with pytest.raises(InvalidError, match="line 2"):
        texts.read_file(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InvalidError, match=r"none\.txt: No such file"):
        texts.read_file(tmp_path / "none.txt")
    with pytest.raises(InvalidError, match="not UTF-8"):
        texts.read_file(tmp_path / "b.txt")


def test_the_least_asked_come_first(session: Session) -> None:
    run, other = make_run(session), make_run(session)
    never, once, twice = (make_prompt(session) for _ in range(3))
    for prompt in (once, twice, twice):
        make_comparison(session, run, prompt=prompt)
    for _ in range(3):
        make_comparison(session, other, prompt=never)
    picked = prompts.pick(session, run, split=Split.TRAIN, count=10, seed=0)
    assert [prompt.id for prompt in picked] == [never.id, once.id, twice.id]


def test_picking_keeps_to_the_set_and_split_and_is_ordered_by_the_seed(session: Session) -> None:
    run = make_run(session)
    mine = {make_prompt(session).id for _ in range(20)}
    make_prompt(session, split=Split.TEST)
    make_prompt(session, prompt_set="other")

    def picked(seed: int) -> list[object]:
        return [prompt.id for prompt in prompts.pick(session, run, split=Split.TRAIN, count=99, seed=seed)]

    assert set(picked(1)) == mine
    assert picked(1) == picked(1) != picked(2)
    assert picked(1) == sorted(mine, key=lambda id_: hashlib.md5(f"1:{id_}".encode()).hexdigest())
