"""PPO on one policy: an update is sample, rollout, step.

The trainer holds models and optimizer between updates and knows neither database nor clock. Everything random in an
update follows from the run's seed and the update's number, so that a resumed run repeats what an unbroken one does.
Source: Ziegler et al. 2019, section 2.2; lm-human-preferences train_policy.py.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.hparams import PPOHParams, TaskHParams
from workers.nets.policy import Policy
from workers.nets.precision import autocast
from workers.nets.tokenizer import PAD_ID
from workers.ppo_objective import Objective
from workers.ppo_optimizer import make_optimizer, set_rate
from workers.ppo_stats import mean_of, rollout_stats
from workers.rlhf.advantages import Advantages, masked_mean
from workers.rlhf.kl import adaptive_kl_coef
from workers.rlhf.masks import Truncation, response_mask, truncate
from workers.rlhf.rewards import score_penalty
from workers.rlhf.schedule import SEED_STRIDE
from workers.rlhf.types import QueryBatch, Rollout, Sampled


class DivergedError(Exception):
    """A loss is not finite; the last training state is still good."""


class Scorer(Protocol):
    """A reward model as PPO sees it."""

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        """(b, q) ids and mask, (b, r) truncated ids and mask -> (b,) float scores."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a training state holds beside weights and optimizer."""

    update: int
    """Updates done; the next one has this number."""
    kl_coef: float


class PPOTrainer:
    """One policy being trained against one reference."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        *,
        task: TaskHParams,
        ppo: PPOHParams,
        terminators: Tensor,
        seed: int,
        progress: Progress,
        bf16: bool,
        objective: Objective | None = None,
    ) -> None:
        """`policy` is changed in place; `reference` never.

        Args:
            terminators: (t,) int64 token ids that end a response; not used where the task has no end.
            bf16: matrix products in bfloat16; weights, logits, losses and optimizer stay in float32.
            objective: what is minimised; None is the published one.
        """
        self.policy = policy
        self.reference = reference
        self.task = task
        self.ppo = ppo
        self.terminators = terminators
        self.seed = seed
        self.progress = progress
        self.bf16 = bf16
        self.objective = objective or Objective(ppo)
        self.optimizer = make_optimizer(list(self.trained().values()), ppo)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that the optimizer changes, by name."""
        return {name: parameter for name, parameter in self.policy.named_parameters() if parameter.requires_grad}

    def update(self, queries: QueryBatch, scorer: Scorer) -> dict[str, float]:
        """One PPO update on a batch of queries. Returns its statistics by metric name.

        Raises: DivergedError when a loss or the KL is not finite; the weights are then useless.
        """
        sampled = self.sample(queries)
        return self.step(self.rollout(sampled, self.scores(sampled, scorer)))

    def sample(self, queries: QueryBatch) -> Sampled:
        """Answer each query once with the current policy; the same answers until `step` has been called."""
        generator = torch.Generator(device=queries.ids.device)
        generator.manual_seed(self.seed * SEED_STRIDE + self.progress.update)
        with self._autocast():
            written = self.policy.generate(
                queries.ids,
                queries.mask,
                response_tokens=self.task.response_tokens,
                temperature=self.task.temperature,
                generator=generator,
            )
        kept = self._truncated(written.tokens)
        return Sampled(
            queries=queries,
            responses=written.tokens,
            logprobs=written.logprobs,
            ref_logprobs=self._ref_logprobs(queries, written.tokens),
            values=_need(written.values),
            tokens=kept.tokens,
            lengths=kept.lengths,
            valid=kept.valid,
        )

    def scores(self, sampled: Sampled, scorer: Scorer) -> Tensor:
        """(b,) float; what a scorer says of truncated samples. It reads the raw queries."""
        mask = response_mask(sampled.lengths, sampled.tokens.shape[1])
        with torch.no_grad(), self._autocast():
            return scorer(sampled.queries.raw_ids, sampled.queries.raw_mask, sampled.tokens, mask)

    def rollout(self, sampled: Sampled, scores: Tensor) -> Rollout:
        """Put scores to samples; invalid ones get the task's penalty in their place.

        Args:
            scores: (b,) float; of `sampled.tokens`.
        """
        return Rollout(
            queries=sampled.queries.ids,
            query_mask=sampled.queries.mask,
            responses=sampled.responses,
            logprobs=sampled.logprobs,
            ref_logprobs=sampled.ref_logprobs,
            values=sampled.values,
            scores=score_penalty(scores.float(), sampled.valid, self.task.invalid_score),
            valid=sampled.valid,
            lengths=sampled.lengths,
        )

    def step(self, rollout: Rollout) -> dict[str, float]:
        """Train on a rollout and move the KL coefficient; returns the update's statistics by metric name."""
        coef = self.progress.kl_coef
        rewards = self.objective.rewards(rollout, kl_coef=coef)
        targets = self.objective.targets(rollout, kl_coef=coef)
        stats = rollout_stats(rollout, rewards, targets, self.objective.mask(rollout), coef) | self._epochs(rollout)
        self._advance(stats["objective/kl"])
        return stats

    def _ref_logprobs(self, queries: QueryBatch, responses: Tensor) -> Tensor:
        """(b, r); in the slices in which the policy is trained, so that both are rounded alike."""
        parts = []
        for rows in torch.arange(len(responses)).split(self.ppo.micro_batch):
            with torch.no_grad(), self._autocast():
                out = self.reference(
                    queries.ids[rows], queries.mask[rows], responses[rows], temperature=self.task.temperature
                )
            parts.append(out.logprobs)
        return torch.cat(parts)

    def _truncated(self, responses: Tensor) -> Truncation:
        if not self.task.ends:
            lengths = torch.full_like(responses[:, 0], responses.shape[1])
            return Truncation(responses, torch.ones_like(lengths, dtype=torch.bool), lengths)
        return truncate(
            responses, terminators=self.terminators, min_index=self.task.min_terminator_index, pad_id=PAD_ID
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.policy.language_model.device, self.bf16)

    def _epochs(self, rollout: Rollout) -> dict[str, float]:
        """Train on the rollout; statistics are means over steps, `ratio_error` is of the first forward pass."""
        rate = set_rate(self.optimizer, self.ppo, self.progress.update)
        passes = [self._optimize(rollout.select(rows)) for rows in self._minibatches(rollout.batch_size)]
        stats = mean_of(passes)
        if not all(map(math.isfinite, stats.values())):
            raise DivergedError(f"update {self.progress.update}: a loss is not finite; lower the learning rate")
        return stats | {"ppo/ratio_error": passes[0]["ppo/ratio_error"], "ppo/lr": rate}

    def _minibatches(self, episodes: int) -> Iterator[Tensor]:
        """Rows of each optimizer step: per epoch a permutation of its own, drawn from seed, update and epoch."""
        for epoch in range(self.ppo.epochs):
            order = torch.arange(episodes)
            if self.ppo.minibatches > 1:
                number = self.progress.update * self.ppo.epochs + epoch
                generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + number)
                order = torch.randperm(episodes, generator=generator)
            yield from order.chunk(self.ppo.minibatches)

    def _optimize(self, batch: Rollout) -> dict[str, float]:
        """One optimizer step on a minibatch, accumulated over micro-batches by their share of its tokens."""
        self.optimizer.zero_grad(set_to_none=True)
        targets, mask = self.objective.targets(batch, kl_coef=self.progress.kl_coef), self.objective.mask(batch)
        total: dict[str, float] = {}
        for rows in torch.arange(batch.batch_size).split(self.ppo.micro_batch):
            share = _share(mask, rows, batch.batch_size)
            part = Advantages(targets.advantages[rows], targets.returns[rows])
            loss, stats = self._loss(batch.select(rows), part, None if mask is None else mask[rows])
            (loss * share).backward()
            for name, value in stats.items():
                total[name] = total.get(name, 0.0) + share * value.item()
        self.optimizer.step()
        return total

    def _loss(self, batch: Rollout, targets: Advantages, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        with self._autocast():
            out = self.policy(batch.queries, batch.query_mask, batch.responses, temperature=self.task.temperature)
        losses = self.objective.losses(out.logprobs, out.values, batch, targets, mask)
        ratio = (out.logprobs.detach() - batch.logprobs).exp()
        return losses.total, {
            "ppo/loss/policy": losses.policy.loss.detach(),
            "ppo/loss/value": losses.value.loss.detach(),
            "ppo/loss/total": losses.total.detach(),
            "ppo/policy/clipfrac": losses.policy.clipfrac,
            "ppo/policy/approxkl": losses.policy.approxkl,
            "ppo/val/clipfrac": losses.value.clipfrac,
            "ppo/ratio_error": masked_mean((ratio - 1).abs(), mask),
        }

    def _advance(self, observed_kl: float) -> None:
        coef = self.progress.kl_coef
        if self.ppo.kl_target is not None:
            coef = adaptive_kl_coef(
                coef,
                observed_kl,
                target=self.ppo.kl_target,
                horizon=self.ppo.kl_horizon,
                episodes=self.ppo.batch,
            )
        self.progress = Progress(update=self.progress.update + 1, kl_coef=coef)


def _share(mask: Tensor | None, rows: Tensor, batch: int) -> float:
    return len(rows) / batch if mask is None else (mask[rows].sum() / mask.sum()).item()


def _need(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("a policy without a value head cannot be trained by PPO")
    return values
