"""Fitting reward models to choices, on tiny random language models."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from app.hparams import PAPER_HEAD, Pooling, Readout, RewardHead, RewardHParams
from workers.checkpoints import CheckpointStore
from workers.nets.language_model import LanguageModel
from workers.nets.reward_model import Read
from workers.reward_features import FeatureCache, compute_features, pad
from workers.reward_labels import EncodedLabel, EncodedSample, RewardData
from workers.reward_members import Trunk
from workers.reward_trainer import FittedReward, fit, restore
from workers.reward_tuning import judge_samples, score_samples
from workers.rlhf.labels import Difference, LabelKind, Rating, even, picked, preference

GOOD, VOCABULARY, WIDTH = 7, 40, 32
MEAN = Readout(pooling=Pooling.MEAN, depth=0.5)
FROZEN = RewardHead(readouts=(MEAN,))
LAST = RewardHead()
BOTH = RewardHead(readouts=(MEAN, Readout()))


def tiny() -> LanguageModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=WIDTH, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return LanguageModel(GPT2LMHeadModel(config)).requires_grad_(False)


def own_copy() -> LanguageModel:
    return tiny().requires_grad_(True)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk(reference=tiny(), digest="tiny", load=own_copy)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def comparisons(n: int, *, seed: int) -> list[EncodedLabel]:
    """The sample with the most GOOD tokens is picked, the first of equals; each seed has its own prompts."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        drawn = torch.randint(1, VOCABULARY, (length,), generator=generator)
        return tuple(drawn.where(torch.rand(length, generator=generator) > 0.15, GOOD).tolist())

    def one(i: int) -> EncodedLabel:
        responses = tuple(ids(4 + (i + j) % 3) for j in range(4))
        best = max(range(4), key=lambda j: responses[j].count(GOOD))
        prompt = f"p{seed}.{i // 2}"
        return EncodedLabel(prompt=prompt, query=ids(2 + i % 4), responses=responses, target=picked(best, 4))

    return [one(i) for i in range(n)]


def samples(n: int, *, seed: int) -> list[EncodedSample]:
    return [one.samples[0] for one in comparisons(n, seed=seed)]


def data(train: int = 80, valid: int = 60) -> RewardData:
    return RewardData(
        train=comparisons(train, seed=1), valid=comparisons(valid, seed=2), normalization=samples(50, seed=3)
    )


def hparams(*heads: RewardHead) -> RewardHParams:
    return RewardHParams(heads=heads, learning_rate=3e-3, batch=8, epochs=3)


@pytest.mark.parametrize(
    "heads", [(FROZEN,), (FROZEN, LAST), (BOTH,), (RewardHead(readouts=(Readout(pooling=Pooling.MEAN),), tuned=True),)]
)
def test_what_people_pick_is_learned(trunk: Trunk, cache: FeatureCache, heads: tuple[RewardHead, ...]) -> None:
    fitted = fit(data(240, 120), trunk, hparams=hparams(*heads), seed=0, cache=cache)
    accuracy = fitted.report["accuracy_valid"]
    assert accuracy["low"] > 0.3
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert fitted.report["loss_valid"] < math.log(4)
    assert fitted.report["loss_train"] < math.log(4)
    json.dumps(fitted.report, allow_nan=False)


@pytest.mark.parametrize("head", [FROZEN, LAST, BOTH, PAPER_HEAD])
def test_scores_of_the_normalization_samples_have_mean_0_and_deviation_1(
    trunk: Trunk, cache: FeatureCache, head: RewardHead
) -> None:
    made = data(24, 0)
    fitted = fit(made, trunk, hparams=hparams(head), seed=0, cache=cache)
    scores = score_samples(fitted.model, made.normalization)
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert "accuracy_valid" not in fitted.report


def weights(model: LanguageModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("head", [FROZEN, BOTH, PAPER_HEAD])
def test_the_reference_is_never_changed_and_a_saved_model_scores_the_same(
    trunk: Trunk, cache: FeatureCache, tmp_path: Path, head: RewardHead
) -> None:
    before = weights(trunk.reference)
    fitted = fit(data(24, 0), trunk, hparams=hparams(head), seed=0, cache=cache)
    assert all(torch.equal(value, before[name]) for name, value in trunk.reference.state_dict().items())
    store = CheckpointStore(tmp_path / "store", reserve_bytes=0)
    loaded = store.load(store.save("reward", {"model": fitted.tensors}, fitted.meta))
    again = restore(loaded.tensors["model"], loaded.meta, trunk)
    held = samples(10, seed=9)
    assert torch.equal(score_samples(again, held), score_samples(fitted.model, held))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    trunk_is_saved = any(name.startswith("trunk.") for name in fitted.tensors)
    assert trunk_is_saved == head.tuned


@pytest.mark.parametrize("head", [FROZEN, PAPER_HEAD])
def test_a_fit_depends_on_its_labels_and_seed_alone(trunk: Trunk, tmp_path: Path, head: RewardHead) -> None:
    def fitted(name: str) -> FittedReward:
        return fit(data(24, 0), trunk, hparams=hparams(head), seed=4, cache=FeatureCache(tmp_path / name))

    first, second = fitted("a"), fitted("b")
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_the_candidate_with_the_lowest_held_out_loss_wins(trunk: Trunk, cache: FeatureCache) -> None:
    fitted = fit(data(120, 0), trunk, hparams=hparams(FROZEN, LAST), seed=0, cache=cache)
    losses = {RewardHead.model_validate(one["head"]): one["loss"] for one in fitted.report["candidates"]}
    assert fitted.head == min(losses, key=losses.__getitem__) == FROZEN
    assert fitted.report["loss_heldout"] == losses[FROZEN]
    accuracy = fitted.report["accuracy_heldout"]
    assert 0 <= accuracy["low"] <= fitted.report["accuracy_heldout"]["value"] <= accuracy["high"] <= 1


def test_a_tuned_candidate_may_compete_with_a_frozen_one(trunk: Trunk, cache: FeatureCache) -> None:
    never = PAPER_HEAD
    made = hparams(never, FROZEN).model_copy(update={"learning_rate": 1e-9, "epochs": 1})
    fitted = fit(data(80, 0), trunk, hparams=made, seed=0, cache=cache)
    assert fitted.head == FROZEN
    assert all("loss" in one for one in fitted.report["candidates"])


def test_held_out_quality_of_coin_tosses_is_chance(trunk: Trunk, cache: FeatureCache) -> None:
    """No label leaks into the fold that scores it: a leak would look like skill."""
    generator = torch.Generator().manual_seed(0)
    coins = torch.randint(4, (200,), generator=generator).tolist()
    tossed = [replace(one, target=picked(coin, 4)) for one, coin in zip(comparisons(200, seed=1), coins, strict=True)]
    made = RewardData(train=tossed, valid=(), normalization=samples(50, seed=3))
    report = fit(made, trunk, hparams=hparams(FROZEN), seed=0, cache=cache).report
    assert report["accuracy_heldout"]["low"] < 0.25 < report["accuracy_heldout"]["high"]
    assert report["loss_heldout"] == pytest.approx(math.log(4), abs=0.05)


def test_too_few_labels_are_refused(trunk: Trunk, cache: FeatureCache) -> None:
    with pytest.raises(ValueError, match="no labels"):
        fit(data(0, 0), trunk, hparams=hparams(FROZEN), seed=0, cache=cache)
    with pytest.raises(ValueError, match="2 different prompts"):
        fit(data(2, 0), trunk, hparams=hparams(FROZEN), seed=0, cache=cache)


def test_labels_that_cannot_be_learned_from_together_are_refused() -> None:
    some = comparisons(4, seed=1)
    with pytest.raises(ValueError, match="split by prompt"):
        RewardData(train=some, valid=some[:1], normalization=())
    with pytest.raises(ValueError, match=r"\[1, 4\] samples"):
        RewardData(train=some, valid=rated(1, seed=2), normalization=())
    with pytest.raises(ValueError, match="add up to 1"):
        RewardData(train=[replace(some[0], target=(1.0, 1.0, 0.0, 0.0))], valid=(), normalization=())


def test_features_are_those_of_each_sample_alone(trunk: Trunk) -> None:
    reads = [Read(1, Pooling.MEAN), Read(-1, Pooling.LAST)]
    many = samples(40, seed=5)
    together = compute_features(trunk.reference, many, reads, bf16=False)
    for sample, features in zip(many, together, strict=True):
        ids = torch.tensor([sample.query + sample.response])
        below, top = trunk.reference.hidden_layers(ids, torch.ones_like(ids, dtype=torch.bool), (1, -1))
        assert torch.allclose(features[0], below[0].mean(dim=0), atol=1e-5)
        assert torch.allclose(features[1], top[0, -1], atol=1e-5)


def test_the_cache_gives_what_would_be_computed_and_remembers_it(trunk: Trunk, tmp_path: Path) -> None:
    reads = [Read(1, Pooling.MEAN)]
    some, more = samples(10, seed=5), samples(25, seed=5)
    expected = compute_features(trunk.reference, more, reads, bf16=False)
    cache = FeatureCache(tmp_path)
    cache.features(trunk.reference, "d", [*some, *some], reads)
    assert torch.allclose(cache.features(trunk.reference, "d", more, reads), expected, atol=1e-6)

    blind = own_copy()
    for parameter in blind.parameters():
        parameter.data.zero_()
    fresh = FeatureCache(tmp_path)  # another process: what it gives was not computed by its own, useless trunk
    assert torch.allclose(fresh.features(blind, "d", more, reads), expected, atol=1e-6)
    assert not fresh.features(blind, "other", more, reads).any()


def test_a_read_is_computed_once_whatever_stands_beside_it(trunk: Trunk, tmp_path: Path) -> None:
    middle, top = Read(1, Pooling.MEAN), Read(-1, Pooling.LAST)
    many = samples(12, seed=5)
    cache = FeatureCache(tmp_path)
    cache.features(trunk.reference, "d", many[:8], [middle])
    together = cache.features(trunk.reference, "d", many, [top, middle])
    assert torch.allclose(together, compute_features(trunk.reference, many, [top, middle], bf16=False), atol=1e-6)
    blind = own_copy()
    for parameter in blind.parameters():
        parameter.data.zero_()
    assert torch.equal(FeatureCache(tmp_path).features(blind, "d", many, [middle, top]), together.flip(1))


def test_validation_reads_what_the_model_reads(trunk: Trunk, cache: FeatureCache) -> None:
    """Cached features stand for the model itself: its own scores give the reported figures."""
    made = data(120, 60)
    fitted = fit(made, trunk, hparams=hparams(BOTH, FROZEN), seed=0, cache=cache)
    scores = score_samples(fitted.model, [sample for one in made.valid for sample in one.samples]).view(60, 4)
    right = (scores.argmax(dim=1) == torch.tensor([one.target.index(1.0) for one in made.valid])).sum().item()
    assert fitted.report["accuracy_valid"]["value"] == pytest.approx(right / 60)


def test_the_cache_stays_within_its_bounds_and_survives_broken_files(trunk: Trunk, tmp_path: Path) -> None:
    reads = [Read(1, Pooling.MEAN)]
    limit = 20 * WIDTH * 4
    cache = FeatureCache(tmp_path, max_bytes=limit)
    for seed in range(6):
        cache.features(trunk.reference, "d", samples(10, seed=seed), reads)
    files = list(tmp_path.glob("*/*"))
    assert 0 < sum(path.stat().st_size for path in files) <= limit
    files[0].write_bytes(b"broken")
    again = FeatureCache(tmp_path).features(trunk.reference, "d", samples(10, seed=5), reads)
    assert torch.allclose(again, compute_features(trunk.reference, samples(10, seed=5), reads, bf16=False), atol=1e-6)


def test_padding_stands_left_of_queries_and_right_of_responses() -> None:
    padded = pad([EncodedSample((1, 2), (3,)), EncodedSample((4,), (5, 6))], torch.device("cpu"))
    assert padded.queries.tolist() == [[1, 2], [0, 4]]
    assert padded.query_mask.tolist() == [[True, True], [False, True]]
    assert padded.responses.tolist() == [[3, 0], [5, 6]]
    assert padded.response_mask.tolist() == [[True, False], [True, True]]
    with pytest.raises(ValueError, match="no response"):
        pad([EncodedSample((1,), ())], torch.device("cpu"))


ATTENTION_HEAD = RewardHead(readouts=(Readout(pooling=Pooling.ATTENTION),), tuned=True)


def test_a_tuned_head_learns_where_to_look(trunk: Trunk, cache: FeatureCache) -> None:
    fitted = fit(data(240, 120), trunk, hparams=hparams(ATTENTION_HEAD), seed=0, cache=cache)
    assert fitted.report["accuracy_valid"]["low"] > 0.3
    assert fitted.tensors["attention"].any()


def rated(n: int, *, seed: int) -> list[EncodedLabel]:
    """Each sample's number of GOOD tokens, from 0 to 6, on a scale of its own."""
    return [
        replace(one, responses=one.responses[:1], target=(100 + 20.0 * one.responses[0].count(GOOD),))
        for one in comparisons(n, seed=seed)
    ]


def differing(n: int, *, seed: int) -> list[EncodedLabel]:
    """How many GOOD tokens more the second of two samples has."""
    return [
        replace(
            one,
            responses=one.responses[:2],
            target=(float(one.responses[1].count(GOOD) - one.responses[0].count(GOOD)),),
        )
        for one in comparisons(n, seed=seed)
    ]


@pytest.mark.parametrize("head", [FROZEN, RewardHead(readouts=(Readout(pooling=Pooling.MEAN),), tuned=True)])
@pytest.mark.parametrize(("kind", "labels"), [(Rating(), rated), (Difference(), differing)])
def test_ratings_and_differences_are_learned_too(
    trunk: Trunk, cache: FeatureCache, head: RewardHead, kind: LabelKind, labels: Callable[..., list[EncodedLabel]]
) -> None:
    made = RewardData(
        train=labels(240, seed=1), valid=labels(120, seed=2), normalization=samples(50, seed=3), kind=kind
    )
    fitted = fit(made, trunk, hparams=hparams(head), seed=0, cache=cache)
    assert fitted.report["pearson_valid"] > 0.4
    outcomes = torch.tensor([one.target[0] for one in made.valid])
    assert fitted.report["loss_valid"] < outcomes.var(correction=0).item(), "worse than to say the mean"
    assert score_samples(fitted.model, made.normalization).std(correction=0).item() == pytest.approx(1, abs=1e-4)
    json.dumps(fitted.report, allow_nan=False)


def test_pairs_are_learned_by_how_sure_people_were(trunk: Trunk, cache: FeatureCache) -> None:
    """The sure ones are right, the unsure ones wrong: the model sides with the sure ones and reports the slices."""

    def pairs(n: int, *, seed: int) -> list[EncodedLabel]:
        made = []
        for i, one in enumerate(differing(n, seed=seed)):
            side = 1 if one.target[0] > 0 else -1
            made.append(replace(one, target=preference(0.9 * side if i % 3 else -0.3 * side)))
        return made

    made = RewardData(train=pairs(300, seed=1), valid=pairs(150, seed=2), normalization=samples(50, seed=3))
    report = fit(made, trunk, hparams=hparams(FROZEN), seed=0, cache=cache).report
    unsure, sure = report["by_label_confidence_valid"]
    assert unsure["n"] + sure["n"] == report["calibration_valid"]["n"] == 150
    assert unsure["accuracy"]["value"] < 0.5 < sure["accuracy"]["low"]


def test_a_label_without_weight_teaches_a_frozen_head_nothing(trunk: Trunk, cache: FeatureCache) -> None:
    first, *others = comparisons(40, seed=1)
    flipped = replace(first, target=first.target[1:] + first.target[:1])

    def learned(label: EncodedLabel) -> Tensor:
        made = RewardData(train=[label, *others], valid=(), normalization=samples(50, seed=3))
        tensors = fit(made, trunk, hparams=hparams(FROZEN), seed=0, cache=cache).tensors
        return torch.cat([tensors[name].flatten() for name in sorted(tensors)])

    assert torch.equal(learned(replace(first, weight=0.0)), learned(replace(flipped, weight=0.0)))
    assert not torch.allclose(learned(replace(first, weight=2.0)), learned(replace(flipped, weight=2.0)))


def test_ties_pull_scores_together(trunk: Trunk, cache: FeatureCache) -> None:
    picks = comparisons(120, seed=1)
    tied = [replace(one, prompt=f"tied {one.prompt}", target=even(4)) for one in picks]

    def confidence(train: list[EncodedLabel]) -> float:
        made = RewardData(train=train, valid=comparisons(60, seed=2), normalization=samples(50, seed=3))
        return float(fit(made, trunk, hparams=hparams(FROZEN), seed=0, cache=cache).report["confidence_valid"])

    assert confidence(picks + tied) < confidence(picks) - 0.02
    with pytest.raises(ValueError, match="every label is a tie"):
        RewardData(train=tied, valid=(), normalization=())


@pytest.mark.parametrize("head", [FROZEN, PAPER_HEAD])
def test_an_ensemble_scores_on_the_same_scale_and_survives_the_store(
    trunk: Trunk, cache: FeatureCache, tmp_path: Path, head: RewardHead
) -> None:
    made = data(60, 40)
    asked = hparams(head).model_copy(update={"ensemble": 3})
    fitted = fit(made, trunk, hparams=asked, seed=0, cache=cache)
    scores = score_samples(fitted.model, made.normalization)
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    judged = judge_samples(fitted.model, samples(10, seed=9))
    assert judged.disagreement is not None
    assert judged.disagreement.min() > 0, "members saw different prompts"
    assert fitted.report["members"] == 3
    assert fitted.report["disagreement_valid"] > 0
    store = CheckpointStore(tmp_path / "store", reserve_bytes=0)
    loaded = store.load(store.save("reward", {"model": fitted.tensors}, fitted.meta))
    again = judge_samples(restore(loaded.tensors["model"], loaded.meta, trunk), samples(10, seed=9))
    assert again.disagreement is not None
    assert torch.equal(again.scores, judged.scores)
    assert torch.equal(again.disagreement, judged.disagreement)
    if head is FROZEN:
        assert sum(value.numel() for value in fitted.tensors.values()) == 3 * (3 * WIDTH + 3) + 2


def test_more_seeds_never_keep_a_worse_one(trunk: Trunk, cache: FeatureCache) -> None:
    asked = [hparams(PAPER_HEAD).model_copy(update={"seeds": seeds}) for seeds in (2, 4)]
    few, more = (fit(data(40, 0), trunk, hparams=one, seed=0, cache=cache).report["loss_heldout"] for one in asked)
    assert more <= few


def test_members_of_a_tuned_ensemble_are_chosen_among_seeds_too(trunk: Trunk, cache: FeatureCache) -> None:
    asked = hparams(PAPER_HEAD).model_copy(update={"seeds": 2, "ensemble": 2, "epochs": 1})
    fitted = fit(data(24, 0), trunk, hparams=asked, seed=0, cache=cache)
    assert fitted.report["members"] == 2
    assert not any(parameter.requires_grad for parameter in fitted.model.parameters())


def test_calibration_on_what_was_held_out_is_reported(trunk: Trunk, cache: FeatureCache) -> None:
    report = fit(data(240, 120), trunk, hparams=hparams(FROZEN), seed=0, cache=cache).report
    for where, n in (("heldout", 240), ("valid", 120)):
        found = report[f"calibration_{where}"]
        assert found["n"] == sum(one["n"] for one in found["bins"]) == n
        assert found["log_loss"] == pytest.approx(report[f"loss_{where}"])
        share = sum(one["n"] * one["accuracy"]["value"] for one in found["bins"]) / n
        assert share == pytest.approx(report[f"accuracy_{where}"]["value"])
        assert found["error"] < 0.2
    tuned = fit(data(24, 0), trunk, hparams=hparams(PAPER_HEAD), seed=0, cache=cache).report
    assert "calibration_heldout" not in tuned, "one tuned head is not held out from anything"
