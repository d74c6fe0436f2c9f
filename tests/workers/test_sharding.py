"""One copy over several processes: when it is wanted, and that one process alone notices nothing."""

import pytest
import torch

from workers.sharding import all_whole, gathered, is_sharded, own_part, split_as, wanted, whole

GIB = 2**30


@pytest.mark.parametrize(
    ("sharding", "trained", "read", "memory", "expected"),
    [
        ("auto", 124e6, 248e6, 80 * GIB, False),  # 3 GB
        ("auto", 2.5e9, 5e9, 80 * GIB, True),  # 60 GB, of which 0.6 * 86 = 52 may be taken
        ("auto", 2.5e9, 5e9, 141 * GIB, False),
        ("auto", 70e9, 140e9, None, False),  # processors share one memory
        ("always", 1, 0, None, True),
        ("never", 70e9, 140e9, 80 * GIB, False),
    ],
)
def test_one_copy_where_two_do_not_fit(
    sharding: str, trained: float, read: float, memory: int | None, expected: bool
) -> None:
    found = wanted(sharding, trained=int(trained), read=int(read), memory=memory)  # type: ignore[arg-type]
    assert found is expected


def test_what_is_not_split_stays_as_it_is() -> None:
    model = torch.nn.Linear(2, 2)
    weights = model.state_dict()
    assert not is_sharded(model)
    with gathered(model):
        assert whole(model.weight) is model.weight
    assert own_part(model.weight) is model.weight
    assert split_as(model.weight, model.bias) is model.bias
    kept = all_whole(weights, keep=True)
    assert all(kept[name] is weights[name] for name in weights)
    assert all_whole(weights, keep=False) == {}
