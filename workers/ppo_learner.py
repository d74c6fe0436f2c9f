"""The learning half of an update: epochs of optimizer steps on one rollout."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from app.hparams import PPOHParams
from workers.actor_critic import ActorCritic
from workers.gradients import Gradients
from workers.ppo_guards import Guards
from workers.ppo_objective import Objective
from workers.ppo_optimizer import make_optimizer, set_rate
from workers.ppo_stats import mean_of
from workers.ranks import ALONE, Ranks
from workers.rlhf.advantages import Advantages, masked_mean
from workers.rlhf.kl import kl_per_episode, kl_per_token
from workers.rlhf.schedule import SEED_STRIDE
from workers.rlhf.types import Rollout
from workers.sharding import whole


class Learned(NamedTuple):
    """An update's learning."""

    rollout: Rollout
    """As it was trained on: with recomputed log-probabilities and values where those of sampling were too far off."""
    stats: dict[str, float]


class Pass(NamedTuple):
    """One minibatch's forward and backward passes; the gradient lies in the parameters."""

    stats: dict[str, float]
    logprobs: Tensor
    """(b / processes, r) float, nats; of the rows of this process."""


class Learner:
    """Optimizer and objective over the models."""

    def __init__(
        self,
        models: ActorCritic,
        objective: Objective,
        guards: Guards,
        *,
        ppo: PPOHParams,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.models = models
        self.objective = objective
        self.guards = guards
        self.ppo = ppo
        self.seed = seed
        self.ranks = ranks
        self.gradients = Gradients(models.modules(), models.forward, ranks)
        self.optimizer = make_optimizer(list(models.trained().values()), ppo)

    def learn(self, rollout: Rollout, *, update: int, kl_coef: float) -> Learned:
        """All epochs on one rollout. Statistics are means over steps, `ratio_error` is of the first forward pass.

        Raises: GuardError, with the weights half trained: they must be dropped.
        """
        rate = set_rate(self.optimizer, self.ppo, update)
        minibatches = self._minibatches(rollout.batch_size, update)
        rows = next(minibatches)
        first = self._gradient(rollout.select(rows), kl_coef)
        errors, kl = self._beside(rollout.select(rows), first)
        if update == 0:
            self.guards.check_start(kl, bf16=self.models.bf16)
        agrees = self.guards.agrees(errors, bf16=self.models.bf16)
        if not agrees:
            rollout = self._recomputed(rollout)
            first = self._gradient(rollout.select(rows), kl_coef)
        passes = [self._apply(first)]
        passes += [self._apply(self._gradient(rollout.select(rows), kl_coef)) for rows in minibatches]
        own = {"ppo/ratio_error": passes[0]["ppo/ratio_error"], "ppo/lr": rate, "ppo/logprobs_recomputed": 1.0 - agrees}
        return Learned(rollout, mean_of(passes) | own)

    def _minibatches(self, episodes: int, update: int) -> Iterator[Tensor]:
        """Rows of each optimizer step: per epoch a permutation of its own, drawn from seed, update and epoch."""
        for epoch in range(self.ppo.epochs):
            order = torch.arange(episodes)
            if self.ppo.minibatches > 1:
                generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + update * self.ppo.epochs + epoch)
                order = torch.randperm(episodes, generator=generator)
            yield from order.chunk(self.ppo.minibatches)

    def _recomputed(self, rollout: Rollout) -> Rollout:
        rows = self.ranks.rows(rollout.batch_size)
        trunk = None if rollout.trunk is None else rollout.trunk[rows]
        logprobs, values = self.models.recompute(
            rollout.queries[rows], rollout.query_mask[rows], rollout.responses[rows], trunk
        )
        return replace(rollout, logprobs=self.ranks.whole(logprobs), values=self.ranks.whole(values))

    def _beside(self, batch: Rollout, one: Pass) -> tuple[Tensor, Tensor]:
        """How a pass differs from what the rollout says.

        Returns: (n,) float |ratio - 1| of the tokens that count; (b,) float nats per response, of the policy as it is
            now to the reference.
        """
        logprobs, mask = self.ranks.whole(one.logprobs), self.objective.mask(batch)
        errors = _ratio_errors(logprobs, batch)
        kl = kl_per_episode(kl_per_token(logprobs, batch.ref_logprobs), mask)
        return errors.flatten() if mask is None else errors[mask], kl

    def _gradient(self, batch: Rollout, kl_coef: float) -> Pass:
        """The gradient on a minibatch, accumulated over micro-batches by their share of its tokens.

        Rewards and advantages are whitened over the whole minibatch; each process makes the passes of its own rows.
        """
        self.optimizer.zero_grad(set_to_none=True)
        targets, mask = self.objective.targets(batch, kl_coef=kl_coef), self.objective.mask(batch)
        mine = self.ranks.rows(batch.batch_size)
        parts, shares = [], []
        for start in range(mine.start, mine.stop, self.ppo.micro_batch):
            rows = torch.arange(start, min(start + self.ppo.micro_batch, mine.stop))
            part = Advantages(targets.advantages[rows], targets.returns[rows])
            shares.append(_share(mask, rows, batch.batch_size))
            with self.gradients.part(last=start + self.ppo.micro_batch >= mine.stop):
                parts.append(self._backward(batch.select(rows), part, None if mask is None else mask[rows], shares[-1]))
        names = parts[0].stats
        sums = [sum(share * part.stats[name] for share, part in zip(shares, parts, strict=True)) for name in names]
        stats = dict(zip(names, self.ranks.summed(sums), strict=True))
        return Pass(stats, torch.cat([part.logprobs for part in parts]))

    def _backward(self, batch: Rollout, targets: Advantages, mask: Tensor | None, share: float) -> Pass:
        out = self.gradients.forward(batch.queries, batch.query_mask, batch.responses, batch.trunk)
        losses = self.objective.losses(out.logprobs, out.values, batch, targets, mask)
        (losses.total * share).backward()
        logprobs = out.logprobs.detach()
        stats = {
            "ppo/loss/policy": losses.policy.loss,
            "ppo/loss/value": losses.value.loss,
            "ppo/loss/total": losses.total,
            "ppo/policy/clipfrac": losses.policy.clipfrac,
            "ppo/policy/approxkl": losses.policy.approxkl,
            "ppo/val/clipfrac": losses.value.clipfrac,
            "ppo/ratio_error": masked_mean(_ratio_errors(logprobs, batch), mask),
        }
        numbers = torch.stack([value.detach() for value in stats.values()]).tolist()  # once: a GPU is waited for
        return Pass(dict(zip(stats, numbers, strict=True)), logprobs)

    def _apply(self, one: Pass) -> dict[str, float]:
        """Step down the gradient that lies in the parameters."""
        gradients = [value.grad for value in self.models.trained().values() if value.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)).item()
        self.guards.check_step(one.stats["ppo/loss/total"], norm)
        self.optimizer.step()
        return one.stats | {"ppo/grad_norm": norm}


def _ratio_errors(logprobs: Tensor, batch: Rollout) -> Tensor:
    """(b, r) float |ratio - 1|."""
    return ((logprobs - batch.logprobs).exp() - 1).abs()


def _share(mask: Tensor | None, rows: Tensor, batch: int) -> float:
    return len(rows) / batch if mask is None else (mask[rows].sum() / mask.sum()).item()
