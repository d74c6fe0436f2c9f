"""Float32 stays float32 whatever is configured."""

import torch

from workers.nets.precision import MAX_RELATIVE_ERROR, autocast, configure, full_precision


def test_what_is_kept_is_precise() -> None:
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        found = configure("cpu", threads=1)
        assert torch.get_num_threads() == found.threads == 1
        assert torch.get_float32_matmul_precision() == found.matmul
        assert found.relative_error <= MAX_RELATIVE_ERROR
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(matmul)


def test_autocast_opens_and_full_precision_closes() -> None:
    x = torch.ones(2, 2)
    with autocast("cpu", enabled=True):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision("cpu"):
            assert (x @ x).dtype == torch.float32
    with autocast("cpu", enabled=False):
        assert (x @ x).dtype == torch.float32
