"""Labels in: each form becomes comparisons and labels that the next reward model learns from."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from app import comparisons, settling, transfers, usable
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import PRESETS
from app.kinds import JobKind
from app.models import Account, Comparison, ComparisonSample, Label, Prompt, Sample, Verdict
from app.orders import LabelOrder
from app.texts import digest_of, split_of
from tests.factories import make_run
from tests.tiny import TOKENS, save_tiny_model
from tests.workers.transfers.carried import errand_on, result_of
from workers import fencing, plan
from workers.data.reward import reward_plan
from workers.label_rows import PUBLISHED_PAD
from workers.label_source import Remapper
from workers.nets.tokenizer import load_tokenizer, token_ids
from workers.transfers import labels_in

THE, SUN, RAIN, HOME, END = (TOKENS.index(word) for word in ("▁the", "▁sun", "▁rain", "▁home", "."))
TRAIN = next(
    f"the sun {'the ' * n}home" for n in range(50) if split_of(digest_of(f"the sun {'the ' * n}home")) == "train"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def own(model: Path) -> Remapper:
    """Of a run whose tokenizer made the published ids too."""
    tokenizer = load_tokenizer(model)
    return Remapper(tokenizer, tokenizer)


def run_of(factory: SessionFactory, model: Path, *, samples: int = 4) -> UUID:
    hparams = PRESETS["sentiment-small" if samples == 4 else "sentiment-pairs-small"].model_dump(mode="json")
    with session_scope(factory) as session:
        return make_run(session, base_model=str(model), hparams=hparams).id


def bring(factory: SessionFactory, run_id: UUID, path: Path, remapper: Remapper, **fields: Any) -> dict[str, Any]:
    order = LabelOrder(source=str(path), **fields)
    with session_scope(factory) as session:
        job_id = transfers.import_labels(session, run_id, order, account_id=None).id
    labels_in.import_labels(errand_on(factory, job_id, path.parent), remapper)
    return result_of(factory, job_id)


def ids_record(best: int = 1, **fields: Any) -> dict[str, Any]:
    samples = {f"sample{n}": [SUN, *[HOME] * n, END, PUBLISHED_PAD] for n in range(4)}
    return {"query": [THE, SUN, RAIN, PUBLISHED_PAD, PUBLISHED_PAD], **samples, "best": best} | fields


def lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_published_ids_become_labels_in_the_same_ids(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model)
    path = tmp_path / "offline_5k.json"
    path.write_text(json.dumps([ids_record(), ids_record(best=3)]))
    done = bring(session_factory, run_id, path, own)
    assert (done["labels"], done["added"], done["known"]) == (2, 2, 0)
    with session_scope(session_factory) as session:
        labels = session.scalars(select(Label).order_by(Label.idempotency_key)).all()
        chosen = [session.get_one(Sample, label.chosen_sample_id) for label in labels]
        assert [sample.token_ids for sample in chosen] == [[SUN, HOME, END], [SUN, HOME, HOME, HOME, END]]
        assert chosen[0].text == "sun home."
        assert session.scalars(select(Prompt.text)).all() == ["the sun rain"]
        origin = session.scalars(select(Comparison.origin)).first()
        assert origin is not None
        assert origin["file"] == "offline_5k.json"
        assert len(origin["sha256"]) == 64


def test_the_next_reward_model_learns_from_them(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model)
    record = {"prompt": TRAIN, "samples": [" sun", " rain", " home", " the sun"], "best": 2}
    done = bring(session_factory, run_id, lines(tmp_path / "a.jsonl", [record]), own)
    assert done["usable"] == 1
    with session_scope(session_factory) as session:
        assert usable.count_training(session, run_id) == 1
        job = plan.start_job(session, run_id, JobKind.TRAIN_REWARD, {})
        claim = fencing.claim(session, job.id, worker="w", stale_seconds=30.0)
        assert claim is not None
        (one,) = reward_plan(session, claim).train
    assert (one.prompt, one.target) == (TRAIN, (0.0, 0.0, 1.0, 0.0))
    assert one.responses[2] == (HOME,)


def test_ids_of_another_tokenizer_go_through_their_text(
    session_factory: SessionFactory, model: Path, tmp_path: Path
) -> None:
    vocabulary = {token: number for number, token in enumerate(reversed(TOKENS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[other]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁")
    tokenizer.decoder = decoders.Metaspace(replacement="▁")
    published = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[other]")
    other = Remapper(load_tokenizer(model), published)
    assert not other.same
    run_id = run_of(session_factory, model)
    turned = {
        name: value if name == "best" else [n if n == PUBLISHED_PAD else len(TOKENS) - 1 - n for n in value]
        for name, value in ids_record().items()
    }
    bring(session_factory, run_id, lines(tmp_path / "a.jsonl", [turned]), other)
    with session_scope(session_factory) as session:
        label = session.scalars(select(Label)).one()
        chosen = session.get_one(Sample, label.chosen_sample_id)
        assert (chosen.text, chosen.token_ids) == ("sun home.", token_ids(other.own, "sun home."))


def test_a_repeated_import_adds_nothing(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model)
    path = lines(tmp_path / "a.jsonl", [ids_record(best=n % 4) for n in range(450)])
    assert bring(session_factory, run_id, path, own)["added"] == 450
    again = bring(session_factory, run_id, path, own)
    assert (again["added"], again["known"]) == (0, 450)
    with session_scope(session_factory) as session:
        counts = [session.scalar(select(func.count()).select_from(table)) for table in (Label, Comparison, Sample)]
        assert counts == [450, 450, 1800]


def test_an_interrupted_import_goes_on_behind_its_last_record(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model)
    path = lines(tmp_path / "a.jsonl", [ids_record(best=n % 4) for n in range(450)])
    with session_scope(session_factory) as session:
        job_id = transfers.import_labels(session, run_id, LabelOrder(source=str(path)), account_id=None).id
    looks = iter([False, True])
    labels_in.import_labels(errand_on(session_factory, job_id, tmp_path, should_stop=lambda: next(looks)), own)
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count(Label.id))) == labels_in.CHUNK
    labels_in.import_labels(errand_on(session_factory, job_id, tmp_path), own)
    done = result_of(session_factory, job_id)
    assert (done["added"], done["known"]) == (450, 0)


def test_bad_records_import_nothing_or_exactly_the_good(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model)
    rows = [
        ids_record(),
        ids_record(best=9),
        ids_record(sample0=[999]),
        {"prompt": "p", "chosen": "a", "rejected": "b"},
    ]
    path = lines(tmp_path / "a.jsonl", rows)
    with pytest.raises(InvalidError, match="3 of 4 records are bad, so nothing was imported") as refused:
        bring(session_factory, run_id, path, own)
    for said in (
        "line 2: `best` is 9",
        "line 3: token id 999 is outside",
        "line 4: it compares 2 samples, but the run 4",
    ):
        assert said in str(refused.value)
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count(Label.id))) == 0
    assert bring(session_factory, run_id, path, own, keep_good=True)["added"] == 1


def test_identical_samples_and_the_files_own_holdout_teach_nothing(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model, samples=2)
    summaries = [{"text": " sun."}, {"text": " rain."}]
    record = {"info": {"post": TRAIN, "id": "x"}, "summaries": summaries, "choice": 0, "extra": {"confidence": 2}}
    rows = [record | {"split": "valid2"}, {"prompt": TRAIN, "chosen": "sun.", "rejected": "sun."}]
    done = bring(session_factory, run_id, lines(tmp_path / "a.jsonl", rows), own)
    assert (done["holdout"], done["ties"], done["usable"]) == (1, 1, 1)  # ties train in runs of pairs, as even choices
    with session_scope(session_factory) as session:
        assert usable.count_training(session, run_id, (Verdict.BEST,)) == 0
        label = session.scalars(select(Label).where(Label.verdict == Verdict.BEST)).one()
        assert label.strength == 3
        assert session.scalars(select(Prompt.info)).one() == {"id": "x"}


def test_three_pairs_of_a_choice_are_one_comparison_again(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    run_id = run_of(session_factory, model)
    rows = [{"prompt": TRAIN, "chosen": " sun.", "rejected": text} for text in (" rain.", " home.", " the sun.")]
    assert bring(session_factory, run_id, lines(tmp_path / "a.jsonl", rows * 2), own)["added"] == 2
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count()).select_from(ComparisonSample)) == 8


def test_imported_work_is_nobodys_presence(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    """Those who labeled elsewhere neither sign in nor make the run write more for people who are not there."""
    run_id = run_of(session_factory, model, samples=2)
    summaries = [{"text": " sun."}, {"text": " rain."}]
    rows = [{"info": {"post": TRAIN}, "summaries": summaries, "choice": 0, "worker": f"w{n}"} for n in range(40)]
    bring(session_factory, run_id, lines(tmp_path / "a.jsonl", rows), own)
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count()).where(Account.name.like("%(imported)"))) == 40
        assert comparisons.supply_target(session, run_id) == comparisons.LEAST_SUPPLY


def test_a_label_that_comes_after_its_comparison_was_settled_counts(
    session_factory: SessionFactory, model: Path, own: Remapper, tmp_path: Path
) -> None:
    """Of labels of one comparison in two chunks the loop may have seen the first, which teaches nothing."""
    run_id, samples = (
        run_of(session_factory, model, samples=2),
        [{"id": "a", "text": " sun."}, {"id": "b", "text": " rain."}],
    )
    said = [{"verdict": "none", "labeler": "Ada"}, {"verdict": "best", "choice": "a", "labeler": "Grace"}]
    rows = [
        {"label": f"{number} {place}", "prompt": TRAIN, "samples": samples, "comparison": f"c{number}"} | one
        for place, one in enumerate(said)
        for number in range(labels_in.CHUNK)
    ]
    with session_scope(session_factory) as session:
        order = LabelOrder(source=str(lines(tmp_path / "a.jsonl", rows)))
        job_id = transfers.import_labels(session, run_id, order, account_id=None).id

    def look() -> bool:
        with session_scope(session_factory) as session:
            settling.settle(session, run_id, (Verdict.BEST,))
        return False

    labels_in.import_labels(errand_on(session_factory, job_id, tmp_path, should_stop=look), own)
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count(Label.id))) == 2 * labels_in.CHUNK
        counted = usable.count_training(session, run_id)
        assert counted == labels_in.CHUNK
        assert counted == len(session.scalars(usable.training_labels(run_id, (Verdict.BEST,))).all())
