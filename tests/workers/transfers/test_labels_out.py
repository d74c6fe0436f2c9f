"""Labels out and in again: what each form holds comes back, byte for byte where the form allows."""

import gzip
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import datasets
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from app import labeling, transfers
from app.db import SessionFactory, session_scope
from app.hparams import PRESETS
from app.models import Account, Job, Label, Run, Sample, Verdict
from app.orders import ExportOrder, LabelFormat, LabelOrder, LabelScope
from tests.factories import make_account, make_comparison, make_run
from tests.tiny import TOKENS, save_tiny_model
from tests.workers.transfers.carried import errand_on, result_of
from workers.label_rows import PUBLISHED_PAD
from workers.label_source import Remapper
from workers.nets.tokenizer import load_tokenizer, token_ids
from workers.rows import read_rows
from workers.transfers import labels_in, labels_out

MODELS = {DPOTrainer: AutoModelForCausalLM, RewardTrainer: AutoModelForSequenceClassification}
CONFIGS = {DPOTrainer: DPOConfig, RewardTrainer: RewardConfig}
THE, SUN, RAIN, HOME, DOOR, END = (TOKENS.index(word) for word in ("▁the", "▁sun", "▁rain", "▁home", "▁door", "."))


@pytest.fixture
def remapper(tmp_path: Path) -> Remapper:
    tokenizer = load_tokenizer(save_tiny_model(tmp_path / "tiny"))
    return Remapper(tokenizer, tokenizer)


def run_of(factory: SessionFactory, *, samples: int = 4) -> UUID:
    hparams = PRESETS["sentiment-small" if samples == 4 else "sentiment-pairs-small"].model_dump(mode="json")
    with session_scope(factory) as session:
        return make_run(session, hparams=hparams).id


def bring(factory: SessionFactory, run_id: UUID, path: Path, remapper: Remapper) -> dict[str, Any]:
    with session_scope(factory) as session:
        job_id = transfers.import_labels(session, run_id, LabelOrder(source=str(path)), account_id=None).id
    labels_in.import_labels(errand_on(factory, job_id, path.parent), remapper)
    return result_of(factory, job_id)


def take(
    factory: SessionFactory, run_id: UUID, form: LabelFormat, home: Path, remapper: Remapper, **scope: Any
) -> Path:
    """The file of an export."""
    order = ExportOrder(format=form, scope=LabelScope(**scope))
    with session_scope(factory) as session:
        job_id = transfers.export_labels(session, run_id, order, account_id=None).id
    labels_out.export_labels(errand_on(factory, job_id, home), lambda text: token_ids(remapper.own, text))
    done = result_of(factory, job_id)
    with session_scope(factory) as session:
        return transfers.file_of(session, home, job_id, done["files"][0]["name"])


def lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def published(best: int, *, same: bool = False, **extra: Any) -> dict[str, Any]:
    words = [0 if same else n for n in range(4)]
    samples = {f"sample{n}": [SUN, *[HOME] * m, END, *[PUBLISHED_PAD] * (6 - m)] for n, m in enumerate(words)}
    return {"query": [THE, SUN, 1, RAIN, PUBLISHED_PAD], **samples, "best": best, **extra}


SUMMARIES = [
    {
        "info": {"id": f"t3_{n}", "post": f"the sun was at home {n}", "title": "Help — please", "subreddit": "tifu"},
        "summaries": [
            {"text": " sun.", "policy": "sup4_ppo_rm3_kl10", "note": "One."},
            {"text": " rain and door.", "policy": "ref", "note": None},
        ],
        "choice": n % 2,
        "worker": f"w{n % 3}",
        "batch": "batch9",
        "split": split,
        "extra": {"confidence": 8} if n % 2 else {},
    }
    for n, split in enumerate(["train", "valid1", "train", "valid2"])
]
CHOICES = [
    {"prompt": f"the sun was {n}", "samples": [" sun.", " rain.", f" door {n} — home.", " home."], "best": n % 4}
    for n in range(5)
]
PAIRS = [
    {"prompt": f"the sun was at home {n}", "chosen": " sun and rain.", "rejected": f" door {n}."} for n in range(5)
]


def test_the_published_array_comes_back_byte_for_byte(
    session_factory: SessionFactory, remapper: Remapper, tmp_path: Path
) -> None:
    """Queries that no text gives again, extra members and four identical samples among them."""
    path = tmp_path / "offline_5k.json"
    path.write_text(json.dumps([published(1), published(3, when=7), published(2, same=True)]))
    run_id = run_of(session_factory)
    bring(session_factory, run_id, path, remapper)
    assert take(session_factory, run_id, LabelFormat.IDS, tmp_path, remapper).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("form", "rows", "samples"),
    [
        (LabelFormat.SUMMARIES, SUMMARIES, 2),
        (LabelFormat.PAIRS, PAIRS, 2),
        (LabelFormat.PAIRS_ONE, PAIRS, 2),
        (LabelFormat.BEST_OF_4, CHOICES, 4),
    ],
)
def test_lines_that_others_publish_come_back_byte_for_byte(
    session_factory: SessionFactory,
    remapper: Remapper,
    tmp_path: Path,
    form: LabelFormat,
    rows: list[Any],
    samples: int,
) -> None:
    path = lines(tmp_path / "given.jsonl", rows)
    run_id = run_of(session_factory, samples=samples)
    bring(session_factory, run_id, path, remapper)
    assert take(session_factory, run_id, form, tmp_path, remapper).read_bytes() == path.read_bytes()


def test_pairs_are_the_same_labels_in_every_kind_of_file(
    session_factory: SessionFactory, remapper: Remapper, tmp_path: Path
) -> None:
    expected = lines(tmp_path / "expected.jsonl", PAIRS).read_bytes()
    table = pyarrow.Table.from_pylist(PAIRS)
    (tmp_path / "given.json").write_text(json.dumps(PAIRS, indent=1))
    (tmp_path / "given.jsonl.gz").write_bytes(gzip.compress(expected))
    pyarrow.csv.write_csv(table, tmp_path / "given.csv")
    pyarrow.parquet.write_table(table, tmp_path / "given.parquet")
    for path in sorted(tmp_path.glob("given.*")):
        run_id = run_of(session_factory, samples=2)
        bring(session_factory, run_id, path, remapper)
        came = take(session_factory, run_id, LabelFormat.PAIRS, tmp_path, remapper).read_bytes()
        assert came == expected, path.name


def answer(session: Session, run_id: UUID, place: int | None, *, labeler: str = "Ada") -> None:
    """One label, as a person gives it."""
    run = session.get_one(Run, run_id)
    make_comparison(session, run, texts=(" sun.", " rain.", " home.", f" door {place}."))
    account = make_account(session, labeler)
    (lease,) = labeling.lease(session, account.id, run_id, count=1, lease_seconds=600)
    verdict = Verdict.TIE if place is None else Verdict.BEST
    choice = None if place is None else lease.samples[place][0]
    labeling.record(
        session,
        account.id,
        lease.comparison_id,
        verdict=verdict,
        choice=choice,
        key="k",
        milliseconds=1200,
        reason="happier",
    )


@pytest.mark.parametrize("form", [LabelFormat.JSONL, LabelFormat.PARQUET])
def test_our_own_export_is_the_same_labels_in_another_run(
    session_factory: SessionFactory, remapper: Remapper, tmp_path: Path, form: LabelFormat
) -> None:
    first, second = run_of(session_factory), run_of(session_factory)
    with session_scope(session_factory) as session:
        for place in (0, 3, None, 2):
            answer(session, first, place)
    path = take(session_factory, first, form, tmp_path, remapper)
    copied = path.rename(tmp_path / f"copy{path.suffix}")
    done = bring(session_factory, second, copied, remapper)
    assert (done["added"], done["ties"]) == (4, 1)
    for short in (LabelFormat.BEST_OF_4, LabelFormat.PAIRS):
        ways = [take(session_factory, run_id, short, tmp_path, remapper).read_bytes() for run_id in (first, second)]
        assert ways[0] == ways[1]
    again = [row.value for row in read_rows(str(take(session_factory, second, LabelFormat.JSONL, tmp_path, remapper)))]
    before = [row.value for row in read_rows(str(take(session_factory, first, LabelFormat.JSONL, tmp_path, remapper)))]
    said = ("verdict", "milliseconds", "reason", "prompt", "purpose")
    assert [[row[name] for name in said] for row in again] == [[row[name] for name in said] for row in before]
    assert [row["imported"]["worker"] for row in again] == [row["labeler"] for row in before]


def test_whole_records_say_everything(session_factory: SessionFactory, remapper: Remapper, tmp_path: Path) -> None:
    run_id = run_of(session_factory)
    with session_scope(session_factory) as session:
        answer(session, run_id, 1)
        label = session.scalars(select(Label)).one()
        chosen = session.get_one(Sample, label.chosen_sample_id)
    (row,) = read_rows(str(take(session_factory, run_id, LabelFormat.JSONL, tmp_path, remapper)))
    assert row.value["choice"] == row.value["samples"][1]["id"] == str(chosen.id)
    assert row.value["samples"][1]["token_ids"] == chosen.token_ids
    assert row.value["samples"][1]["temperature"] == 0.7
    assert (row.value["labeler"], row.value["milliseconds"]) == (str(label.labeler_id), 1200)
    (flat,) = read_rows(str(take(session_factory, run_id, LabelFormat.PARQUET, tmp_path, remapper)))
    packed = {name: json.dumps(row.value[name]) for name in labels_out.AS_JSON if row.value[name] is not None}
    assert flat.value == row.value | packed


def test_one_pair_per_label_or_one_per_rejected_sample(
    session_factory: SessionFactory, remapper: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory)
    with session_scope(session_factory) as session:
        for place in (0, 3):
            answer(session, run_id, place)
    every, one = (
        [row.value for row in read_rows(str(take(session_factory, run_id, form, tmp_path, remapper)))]
        for form in (LabelFormat.PAIRS, LabelFormat.PAIRS_ONE)
    )
    assert (len(every), len(one)) == (6, 2)
    assert all(pair in every for pair in one)


def test_a_scope_leaves_the_others_out(session_factory: SessionFactory, remapper: Remapper, tmp_path: Path) -> None:
    run_id = run_of(session_factory)
    with session_scope(session_factory) as session:
        for place in (0, None):
            answer(session, run_id, place)
        ada, bob = session.scalars(select(Label.labeler_id).order_by(Label.created_at))
        session.get_one(Account, bob).disabled_at = datetime.now(UTC)
        serving = session.get_one(Run, run_id).serving_id
    scopes: list[tuple[dict[str, Any], int]] = [
        ({}, 2),
        ({"verdicts": ["tie"]}, 1),
        ({"splits": ["train", "valid"]}, 2),
        ({"splits": ["test"]}, 0),
        ({"labelers": [ada]}, 1),
        ({"labelers": [ada, bob]}, 2),
        ({"enabled": True}, 1),
        ({"policies": [serving]}, 2),
        ({"policies": [ada]}, 0),
        ({"imported": True}, 0),
        ({"until": "2020-01-01T00:00:00Z"}, 0),
        ({"since": "2020-01-01T00:00:00Z", "current": True, "imported": False}, 2),
        ({"usable": True}, 1),
        ({"purposes": ["gold"]}, 0),
    ]
    for scope, expected in scopes:
        path = take(session_factory, run_id, LabelFormat.JSONL, tmp_path, remapper, **scope)
        assert len(list(read_rows(str(path)))) == expected, scope


def test_the_manifest_checks_the_file(session_factory: SessionFactory, remapper: Remapper, tmp_path: Path) -> None:
    run_id = run_of(session_factory)
    with session_scope(session_factory) as session:
        answer(session, run_id, 1)
    path = take(session_factory, run_id, LabelFormat.JSONL, tmp_path, remapper, splits=["train"])
    manifest = json.loads((path.parent / "manifest.json").read_text())
    assert manifest["files"] == [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    ]
    assert (manifest["records"], manifest["scope"]) == (1, {"splits": ["train"]})
    assert manifest["run"]["hparams"]["preset"] == "sentiment-small"
    with session_scope(session_factory) as session:
        files = session.scalars(select(Job.result)).one()["files"]
        assert [file["name"] for file in files] == [path.name, "manifest.json"]
    assert not list(path.parent.glob(".*"))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("trainer", [DPOTrainer, RewardTrainer])
def test_datasets_and_trl_take_the_pairs_as_they_are(
    session_factory: SessionFactory, remapper: Remapper, tmp_path: Path, trainer: Any
) -> None:
    """One step of each; the loss is ln 2, for the policy is its own reference, and the reward model scores 0."""
    run_id = run_of(session_factory)
    with session_scope(session_factory) as session:
        for place in (0, 3, 1):
            answer(session, run_id, place)
    path = take(session_factory, run_id, LabelFormat.PAIRS, tmp_path, remapper)
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["prompt", "chosen", "rejected"]
    assert len(rows) == 9
    model = MODELS[trainer].from_pretrained(tmp_path / "tiny", **({} if trainer is DPOTrainer else {"num_labels": 1}))
    if trainer is RewardTrainer:
        torch.nn.init.zeros_(model.score.weight)
    remapper.own.pad_token = remapper.own.eos_token
    common = {"max_steps": 1, "per_device_train_batch_size": 4, "report_to": [], "use_cpu": True, "bf16": False}
    args = CONFIGS[trainer](output_dir=str(tmp_path / "out"), save_strategy="no", disable_tqdm=True, **common)
    made = trainer(model=model, args=args, train_dataset=rows, processing_class=remapper.own)
    assert made.train().training_loss == pytest.approx(0.693, abs=0.01)
