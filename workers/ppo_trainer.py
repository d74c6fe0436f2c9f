"""PPO on one policy: an update is rollout, score, rewards, advantages, epochs.

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
from workers.rlhf.adam import TFAdam
from workers.rlhf.advantages import Advantages, advantages_and_returns, masked_mean
from workers.rlhf.kl import adaptive_kl_coef, kl_per_episode, kl_per_token
from workers.rlhf.losses import policy_loss, value_loss
from workers.rlhf.masks import Truncation, response_mask, truncate
from workers.rlhf.rewards import per_token_rewards, score_penalty
from workers.rlhf.schedule import linear_decay
from workers.rlhf.types import Rollout

ADAM_EPSILON = 1e-5
SEED_STRIDE = 1_000_003


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
    ) -> None:
        """`policy` is changed in place; `reference` never.

        Args:
            terminators: (t,) int64 token ids that end a response; not used where the task has no terminator.
            bf16: matrix products in bfloat16; weights, logits, losses and optimizer stay in float32.
        """
        self.policy = policy
        self.reference = reference
        self.task = task
        self.ppo = ppo
        self.terminators = terminators
        self.seed = seed
        self.progress = progress
        self.bf16 = bf16
        self.optimizer = make_optimizer(list(self.trained().values()), ppo)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that the optimizer changes, by name."""
        return {name: parameter for name, parameter in self.policy.named_parameters() if parameter.requires_grad}

    def update(self, queries: Tensor, query_mask: Tensor, scorer: Scorer) -> dict[str, float]:
        """One PPO update on a batch of queries (b, q), left-padded. Returns its statistics by metric name.

        Raises: DivergedError when a loss or the KL is not finite; the weights are then useless.
        """
        rollout = self._rollout(queries, query_mask, scorer)
        mask = self._loss_mask(rollout)
        rewards = per_token_rewards(
            rollout.logprobs,
            rollout.ref_logprobs,
            rollout.scores,
            rollout.lengths,
            kl_coef=self.progress.kl_coef,
            mode=self.ppo.mode,
        )
        targets = advantages_and_returns(
            rewards,
            rollout.values,
            gamma=self.ppo.gamma,
            lam=self.ppo.lam,
            whiten_rewards=self.ppo.whiten_rewards,
            mask=mask,
        )
        losses = self._epochs(rollout, targets, mask)
        stats = rollout_stats(rollout, rewards, targets, mask, self.progress.kl_coef) | losses
        self._advance(stats["objective/kl"])
        return stats

    def _rollout(self, queries: Tensor, query_mask: Tensor, scorer: Scorer) -> Rollout:
        task = self.task
        generator = torch.Generator(device=queries.device)
        generator.manual_seed(self.seed * SEED_STRIDE + self.progress.update)
        with self._autocast():
            written = self.policy.generate(
                queries,
                query_mask,
                response_tokens=task.response_tokens,
                temperature=task.temperature,
                generator=generator,
            )
        kept = self._truncated(written.tokens)
        with torch.inference_mode(), self._autocast():
            reference = self.reference(queries, query_mask, written.tokens, temperature=task.temperature)
            scores = scorer(queries, query_mask, kept.tokens, response_mask(kept.lengths, task.response_tokens))
        return Rollout(
            queries=queries,
            query_mask=query_mask,
            responses=written.tokens,
            logprobs=written.logprobs,
            ref_logprobs=reference.logprobs.float().clone(),
            values=_need(written.values),
            scores=score_penalty(scores.float().clone(), kept.valid, task.invalid_score),
            valid=kept.valid,
            lengths=kept.lengths,
        )

    def _truncated(self, responses: Tensor) -> Truncation:
        if self.task.terminator is None:
            lengths = torch.full_like(responses[:, 0], responses.shape[1])
            return Truncation(responses, torch.ones_like(lengths, dtype=torch.bool), lengths)
        return truncate(
            responses, terminators=self.terminators, min_index=self.task.min_terminator_index, pad_id=PAD_ID
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.policy.language_model.device, self.bf16)

    def _loss_mask(self, rollout: Rollout) -> Tensor | None:
        """(b, r) bool in corrected mode; None (every token counts) in reference mode."""
        if self.ppo.mode == "reference":
            return None
        return response_mask(rollout.lengths, rollout.responses.shape[1])

    def _epochs(self, rollout: Rollout, targets: Advantages, mask: Tensor | None) -> dict[str, float]:
        """Train on the rollout; statistics are means over epochs, `ratio_error` is of the first forward pass."""
        rate = linear_decay(self.ppo.learning_rate, self.progress.update, self.ppo.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        passes = [self._step(rollout, targets, mask) for _ in range(self.ppo.epochs)]
        stats = {name: math.fsum(one[name] for one in passes) / len(passes) for name in passes[0]}
        if not all(map(math.isfinite, stats.values())):
            raise DivergedError(f"update {self.progress.update}: a loss is not finite; lower the learning rate")
        return stats | {"ppo/ratio_error": passes[0]["ppo/ratio_error"], "ppo/lr": rate}

    def _step(self, rollout: Rollout, targets: Advantages, mask: Tensor | None) -> dict[str, float]:
        """One optimizer step on the whole rollout, accumulated over micro-batches by their share of its tokens."""
        self.optimizer.zero_grad(set_to_none=True)
        total: dict[str, float] = {}
        for rows in torch.arange(rollout.batch_size).split(self.ppo.micro_batch):
            share = _share(mask, rows, rollout.batch_size)
            part = Advantages(targets.advantages[rows], targets.returns[rows])
            loss, stats = self._loss(rollout.select(rows), part, None if mask is None else mask[rows])
            (loss * share).backward()
            for name, value in stats.items():
                total[name] = total.get(name, 0.0) + share * value.item()
        self.optimizer.step()
        return total

    def _loss(self, batch: Rollout, targets: Advantages, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        with self._autocast():
            out = self.policy(batch.queries, batch.query_mask, batch.responses, temperature=self.task.temperature)
        pi = policy_loss(out.logprobs, batch.logprobs, targets.advantages, clip=self.ppo.clip_ratio, mask=mask)
        vf = value_loss(out.values, batch.values, targets.returns, clip=self.ppo.clip_value, mask=mask)
        loss = pi.loss + self.ppo.value_coef * vf.loss
        ratio = (out.logprobs.detach() - batch.logprobs).exp()
        return loss, {
            "ppo/loss/policy": pi.loss.detach(),
            "ppo/loss/value": vf.loss.detach(),
            "ppo/loss/total": loss.detach(),
            "ppo/policy/clipfrac": pi.clipfrac,
            "ppo/policy/approxkl": pi.approxkl,
            "ppo/val/clipfrac": vf.clipfrac,
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


def make_optimizer(parameters: list[torch.nn.Parameter], ppo: PPOHParams) -> torch.optim.Optimizer:
    """Adam without weight decay, in the form `ppo.adam` names."""
    if ppo.adam == "tensorflow":
        return TFAdam(parameters, lr=ppo.learning_rate, eps=ADAM_EPSILON)
    return torch.optim.Adam(parameters, lr=ppo.learning_rate, eps=ADAM_EPSILON, fused=True)


def query_order(prompts: int, *, start: int, count: int, seed: int) -> Iterator[int]:
    """Indices of the prompts for episodes `start` to `start + count`: each pass a fresh permutation by seed.

    A function of the episode alone, so that a resumed run needs no cursor of its own.
    """
    for episode in range(start, start + count):
        sweep, place = divmod(episode, prompts)
        if episode == start or place == 0:
            order = torch.randperm(prompts, generator=torch.Generator().manual_seed(seed * SEED_STRIDE + sweep))
        yield int(order[place])


def rollout_stats(
    rollout: Rollout, rewards: Tensor, targets: Advantages, mask: Tensor | None, kl_coef: float
) -> dict[str, float]:
    """What one rollout says of the policy; KL, entropy and scores in nats or score units per episode."""
    kl = kl_per_episode(kl_per_token(rollout.logprobs, rollout.ref_logprobs), mask)
    entropy = kl_per_episode(-rollout.logprobs, mask)
    residual = masked_mean((targets.returns - rollout.values).square(), mask)
    spread = masked_mean((targets.returns - masked_mean(targets.returns, mask)).square(), mask)
    return {
        "objective/kl": kl.mean().item(),
        "objective/kl_coef": kl_coef,
        "objective/entropy": entropy.mean().item(),
        "objective/score": rollout.scores.mean().item(),
        "objective/score_std": rollout.scores.std(correction=0).item(),
        "objective/score_total": rewards.sum(dim=1).mean().item(),
        "objective/valid_fraction": rollout.valid.float().mean().item(),
        "objective/response_length": rollout.lengths.float().mean().item(),
        "ppo/returns/mean": masked_mean(targets.returns, mask).item(),
        "ppo/val/mean": masked_mean(rollout.values, mask).item(),
        "ppo/val/var_explained": 1 - (residual / spread.clamp_min(1e-8)).item(),
    }


def _share(mask: Tensor | None, rows: Tensor, batch: int) -> float:
    return len(rows) / batch if mask is None else (mask[rows].sum() / mask.sum()).item()


def _need(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("a policy without a value head cannot be trained by PPO")
    return values
