"""Features that cannot be kept are computed all the same."""

from pathlib import Path

import torch

from app.hparams import Pooling
from tests.disk import largest_file
from tests.workers.nets.tiny import tiny_language_model
from workers.nets.reward_model import Read
from workers.reward_features import FeatureCache, batches, compute_features
from workers.reward_labels import EncodedSample

SAMPLES = [EncodedSample((1, 2, 3), (4 + i, 5)) for i in range(8)]
READS = (Read(),)


def test_a_full_disk_costs_time_only(tmp_path: Path) -> None:
    model, cache = tiny_language_model("gpt2"), FeatureCache(tmp_path)
    expected = compute_features(model, SAMPLES, READS, bf16=False)
    with largest_file(600):
        assert torch.equal(cache.features(model, "d", SAMPLES, READS), expected)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(cache.features(model, "d", [*SAMPLES, EncodedSample((1,), (2,))], READS)[:8], expected)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_batch_reads_a_query_once_for_samples_that_share_it() -> None:
    queries = [(1, 2), (3,), (1, 2), (4, 5, 6), (3,), (1, 2)]
    some = [EncodedSample(query, (7, 8 + i)) for i, query in enumerate(queries)]
    found = list(batches(some))
    assert sorted(i for rows, _ in found for i in rows) == list(range(6))
    assert {k: [tuple(rows[i : i + k]) for i in range(0, len(rows), k)] for rows, k in found} == {
        1: [(3,)],
        2: [(1, 4)],
        3: [(0, 2, 5)],
    }


def test_features_do_not_depend_on_who_shares_the_pass() -> None:
    model = tiny_language_model("llama")
    reads = (Read(), Read(1, Pooling.MEAN))
    some = [EncodedSample((1, 2, 3)[: 1 + i % 3], tuple(range(4, 6 + i % 4))) for i in range(30)]
    together = compute_features(model, some, reads, bf16=False)
    alone = torch.cat([compute_features(model, [one], reads, bf16=False) for one in some])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
