"""Prefloop's PPO in episodes per second, with random weights; run by `bench.ppo`, prints one JSON line.

The same step as `bench/peers/trl_ppo.py`: sample, score by reference and reward model, then the PPO epochs.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from app.hparams import MIDDLE_MEANS, PPOHParams, TaskHParams
from bench._shapes import LANES, REWARDS, Shape, episode_operations, machine, matrix_ceiling, set_lane
from workers.nets.compiling import compile_all
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.reward_model import Read, RewardModel
from workers.nets.value_head import ValueNetwork
from workers.ppo_trainer import PPOTrainer, Progress
from workers.ranks import ALONE, Ranks
from workers.rlhf.types import QueryBatch

TOKENS = 50_000
"""Queries are drawn from so many token ids."""


def now() -> float:
    """Seconds, once a GPU has done all it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Stopwatch:
    """Seconds that a module's forward passes take."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = 0.0
        self._began = 0.0
        module.register_forward_pre_hook(self._start)
        module.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._began = now()

    def _stop(self, *_: Any) -> None:
        self.seconds += now() - self._began

    def taken(self) -> float:
        """Since this was last asked."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def make_trainer(options: argparse.Namespace, *, bf16: bool, device: str = "cpu", ranks: Ranks = ALONE) -> PPOTrainer:
    """A policy and a reference of the same random weights."""
    shape = Shape(layers=options.layers, width=options.width, heads=options.heads)
    torch.manual_seed(0)
    model = shape.model()
    reference = shape.model()
    reference.load_state_dict(model.state_dict())
    ppo = PPOHParams(
        episodes=options.batch * (options.steps + options.warmup),
        batch=options.batch,
        micro_batch=options.micro or options.batch,
        epochs=options.epochs,
        learning_rate=1e-5,
        kl_target=None,
        value_network="separate" if options.separate else "shared",
    )
    task = TaskHParams(question="?", query_tokens=options.query, response_tokens=options.response, terminator=None)
    trainer = PPOTrainer(
        Policy(LanguageModel(model.to(device)), frozen_layers=options.frozen),
        Policy(LanguageModel(reference.to(device))).requires_grad_(False),
        task=task,
        ppo=ppo,
        terminators=torch.empty(0, dtype=torch.int64, device=device),
        seed=0,
        progress=Progress(update=0, kl_coef=ppo.kl_coef),
        bf16=bf16,
        value_network=ValueNetwork(LanguageModel(shape.model().to(device))) if options.separate else None,
        share_trunk=not options.plain_trunk,
        ranks=ranks,
    )
    if options.compiled:
        compile_all(trainer.reference, *trainer.models.modules())
    return trainer


def make_reward(options: argparse.Namespace, trainer: PPOTrainer) -> RewardModel:
    """A reward model of the policy's size with a trunk of its own; or a head on the reference, as the presets fit."""
    generator, reference = torch.Generator().manual_seed(0), trainer.reference.language_model
    if options.reward == "head":
        reads = [Read(layer=reference.layer_at(one.depth), pooling=one.pooling) for one in MIDDLE_MEANS]
        return RewardModel(reference, reads=reads, frozen=True, generator=generator).requires_grad_(False)
    shape = Shape(layers=options.layers, width=options.width, heads=options.heads)
    trunk = LanguageModel(shape.model().to(reference.device))
    reward = RewardModel(trunk, frozen=False, generator=generator).requires_grad_(False)
    if options.compiled:
        compile_all(reward)
    return reward


def one_step(trainer: PPOTrainer, queries: QueryBatch, reward: RewardModel, watch: Stopwatch) -> dict[str, float]:
    """Seconds of one update and its phases."""
    began, cpu = now(), time.process_time()
    sampled = trainer.sample(queries, reward)
    sampled_at, reference = now(), watch.taken()
    scores = trainer.scores(sampled, reward) if sampled.scores is None else sampled.scores
    rollout = trainer.rollout(sampled, scores)
    scored_at = now()
    trainer.step(rollout)
    ended = now()
    return {
        "step": ended - began,
        "generate": sampled_at - began - reference,
        "score": scored_at - sampled_at + reference,
        "update": ended - scored_at,
        "cpu": time.process_time() - cpu,
    }


def profile(step: Callable[[], object], most: int) -> list[tuple[str, float]]:
    """The operations of one step that take longest by themselves, with their shares of its time."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds, acc_events=True) as seen:
        step()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [(event.key, event.self_cpu_time_total / total) for event in events[:most]]


def batches(options: argparse.Namespace) -> list[Tensor]:
    """The queries of each step: those that the peer gets."""
    total = options.batch * (options.steps + options.warmup)
    rows = torch.randint(0, TOKENS, (total, options.query), generator=torch.Generator().manual_seed(0))
    return list(rows.split(options.batch))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("layers", "width", "heads", "query", "response", "batch", "epochs", "steps", "warmup", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--lane", choices=LANES, required=True)
    parser.add_argument("--separate", action="store_true", help="values from a network of their own, as the peer's")
    parser.add_argument("--frozen", type=int, default=0, help="lowest layers that are not trained")
    parser.add_argument("--reward", choices=REWARDS, default=REWARDS[0])
    parser.add_argument("--plain-trunk", action="store_true", help="compute frozen layers anew in every pass")
    parser.add_argument("--micro", type=int, default=0, help="rows per pass; 0: the whole batch")
    parser.add_argument("--compiled", action="store_true", help="blocks compiled for the passes of training")
    parser.add_argument("--profile", type=int, default=0, help="name so many operations of one more step")
    return parser.parse_args()


def main() -> None:
    """Warm up, time steps, measure the matrix ceiling, print."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    bf16 = set_lane(options.lane)
    trainer = make_trainer(options, bf16=bf16)
    reward = make_reward(options, trainer)
    watch = Stopwatch(trainer.reference)
    queries = [QueryBatch.same(ids, ids >= 0) for ids in batches(options)]
    steps = [one_step(trainer, batch, reward, watch) for batch in queries]
    kept = steps[options.warmup :]
    seconds = {name: statistics.median(step[name] for step in kept) for name in kept[0]}
    shape = Shape(layers=options.layers, width=options.width, heads=options.heads)
    needed = episode_operations(
        shape,
        options.query,
        options.response,
        options.epochs,
        separate=options.separate,
        frozen=options.frozen,
        head=options.reward == "head",
    )
    ceiling = matrix_ceiling(shape, options.batch * (options.query + options.response), bf16=bf16)
    rate = options.batch / seconds["step"]
    facts = {
        "episodes_per_second": rate,
        "seconds": seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "ceiling_gflops": ceiling / 1e9,
        "of_ceiling": needed * rate / ceiling,
        "machine": machine(),
    }
    if options.profile:
        facts["profile"] = profile(lambda: one_step(trainer, queries[-1], reward, watch), options.profile)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
