"""Features that cannot be kept are computed all the same."""

from pathlib import Path

import torch

from tests.disk import largest_file
from tests.workers.nets.tiny import tiny_language_model
from workers.nets.reward_model import Read
from workers.reward_features import FeatureCache, compute_features
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
