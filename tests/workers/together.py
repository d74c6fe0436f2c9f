"""Training by several processes, for a test to compare with training by one.

    python -m torch.distributed.run --nproc-per-node=2 -m tests.workers.together MODEL OUT

Each process writes what it ended with to OUT/<rank>.pt.
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Generator, Tensor

from app.hparams import Pooling, RewardHParams
from tests.workers.test_ppo_trainer import PPO, batch, counts_happy, make_trainer
from tests.workers.test_reward_trainer import comparisons, own_copy, samples
from workers import quiet
from workers.nets.policy import Policy
from workers.nets.reward_model import Read, RewardModel
from workers.ranks import ALONE, Ranks
from workers.reward_tuning import score_samples, tune
from workers.rlhf.labels import Choice

SMALL = {"minibatches": 2, "micro_batch": 2}
"""Two steps an epoch, of which each adds up four micro-batches: two in each of two processes."""
PPO_CASES: dict[str, tuple[dict[str, object], int]] = {
    "published": (SMALL | {"mode": "reference"}, 0),
    "corrected, a separate value network": (SMALL | {"value_network": "separate"}, 0),
    "frozen layers, PyTorch's Adam": (SMALL | {"adam": "pytorch", "minibatches": 1}, 1),
}
"""Changed hyperparameters and frozen layers; where there are some, a frozen reward model reads below and above them."""
REWARD_CASES = {"the last layer": Read(), "a lower layer": Read(layer=1)}
"""The second leaves parameters without gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a training ended."""

    stats: list[dict[str, float]]
    weights: dict[str, Tensor]
    moved: dict[str, float]
    """Norm of the change of each weight."""
    after: Tensor
    """What the policy would sample next, or what the reward model says of samples."""


def ppo(folder: Path, name: str, ranks: Ranks = ALONE) -> Ended:
    """Two updates."""
    changes, frozen = PPO_CASES[name]
    trainer = make_trainer(folder, PPO.model_copy(update=changes), frozen=frozen, ranks=ranks)
    start = {name: value.clone() for name, value in trainer.models.trained().items()}
    scorer = reads_the_reference(trainer.reference) if frozen else counts_happy(folder)
    stats = [trainer.update(batch(folder), scorer) for _ in range(2)]
    return _ended(start, trainer.models.trained(), stats, trainer.sample(batch(folder)).responses)


def reads_the_reference(reference: Policy) -> RewardModel:
    """A frozen head on its lower two layers."""
    reads = (Read(layer=1, pooling=Pooling.MEAN), Read(layer=2, pooling=Pooling.MEAN))
    return RewardModel(reference.language_model, reads=reads, frozen=True, generator=Generator().manual_seed(5))


def reward(name: str, ranks: Ranks = ALONE) -> Ended:
    """Two epochs of two steps on five labels each, which two processes cannot share evenly; one label weighs more."""
    model = RewardModel(own_copy(), reads=(REWARD_CASES[name],), frozen=False, generator=Generator().manual_seed(4))
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    labels = comparisons(10, seed=1)
    found = tune(
        model,
        [replace(labels[0], weight=2.0), *labels[1:]],
        samples(12, seed=3),
        kind=Choice(),
        hparams=RewardHParams(learning_rate=1e-3, batch=5, epochs=2),
        generator=Generator().manual_seed(5),
        bf16=False,
        ranks=ranks,
    )
    stats = [{"loss": found.loss, "gain": found.scale.gain, "bias": found.scale.bias}]
    return _ended(start, dict(model.named_parameters()), stats, score_samples(model, samples(40, seed=7), ranks=ranks))


def _ended(
    start: dict[str, Tensor], end: dict[str, torch.nn.Parameter], stats: list[dict[str, float]], after: Tensor
) -> Ended:
    weights = {name: value.detach().clone() for name, value in end.items()}
    moved = {name: (weights[name] - value).norm().item() for name, value in start.items()}
    return Ended(stats=stats, weights=weights, moved=moved, after=after)


def main(model: Path, out: Path) -> None:
    """All cases."""
    quiet.no_bars()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = Ranks(rank=dist.get_rank(), size=dist.get_world_size())
    ended = {name: ppo(model, name, ranks) for name in PPO_CASES}
    ended |= {name: reward(name, ranks) for name in REWARD_CASES}
    torch.save({name: asdict(one) for name, one in ended.items()}, out / f"{ranks.rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
