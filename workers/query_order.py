"""Which prompt an episode gets: a function of the episode alone, so that a resumed run needs no cursor of its own."""

from collections.abc import Iterator

import torch

from app.hparams import RunHParams
from workers.rlhf.schedule import SEED_STRIDE


def order_seed(hparams: RunHParams) -> int:
    """The seed that orders a run's queries: `ppo.query_seed`, or the run's own without it."""
    return hparams.seed if hparams.ppo.query_seed is None else hparams.ppo.query_seed


def query_order(prompts: int, *, start: int, count: int, seed: int) -> Iterator[int]:
    """Indices of the prompts for episodes `start` to `start + count`: each pass a fresh permutation by seed."""
    for episode in range(start, start + count):
        sweep, place = divmod(episode, prompts)
        if episode == start or place == 0:
            order = torch.randperm(prompts, generator=torch.Generator().manual_seed(seed * SEED_STRIDE + sweep))
        yield int(order[place])
