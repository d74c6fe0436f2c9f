"""A policy against its reference on the same prompts, by a judge that gives numbers.

Both continue each prompt once, without rejection, as PPO sees them. Reported: the judge's mean of each with its
interval, the share of prompts on which the policy's sample is better, and the KL that it cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from app import quality
from app.rules import Score
from workers.plans import SamplePlan
from workers.rlhf.kl import kl_per_episode, kl_per_token
from workers.rlhf.masks import response_mask
from workers.sampler import SampleDraw
from workers.workshop import Workshop

CHUNK = 64
"""Prompts at a time."""

Said = Callable[[str], None]
"""Takes a sentence on how far the work is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadToHead:
    """The result."""

    policy: str
    judge: str
    reference_mean: quality.Mean
    policy_mean: quality.Mean
    kl: quality.Mean
    """Nats per sample, of the policy's samples."""
    wins: int
    """Prompts on which the policy's sample got more; ties count for nobody."""
    losses: int
    valid_reference: float
    valid_policy: float

    @property
    def win_rate(self) -> float:
        """Share of the untied prompts; 0 without any."""
        return self.wins / max(self.wins + self.losses, 1)

    def __str__(self) -> str:
        won = quality.wilson_interval(self.wins, self.wins + self.losses)
        return "\n".join(
            (
                f"{self.judge} of the reference's samples: {_mean(self.reference_mean)}",
                f"{self.judge} of {self.policy}'s samples: {_mean(self.policy_mean)}",
                f"{self.policy} better on {self.win_rate:.1%} [{won.low:.1%}, {won.high:.1%}] of "
                f"{self.wins + self.losses} untied prompts",
                f"KL to the reference: {_mean(self.kl)} nats per sample",
                f"ended in time: {self.valid_reference:.1%} of the reference's, {self.valid_policy:.1%} of the other's",
            )
        )

    def as_json(self) -> dict[str, Any]:
        """Numbers by name; means with their interval."""
        return asdict(self)


def head_to_head(
    workshop: Workshop,
    reference: SamplePlan,
    policy: SamplePlan,
    *,
    name: str,
    judge_name: str,
    judge: Score,
    said: Said,
) -> HeadToHead:
    """Sample both plans, which differ in their policy alone, and judge.

    Args:
        name: of the policy, for the report.
        said: told how many samples are written.
    """
    before, after = (write(workshop, plan, said) for plan in (reference, policy))
    texts = [prompt.text for prompt in policy.prompts]
    one, other = (
        [judge(prompt, draw.text) for prompt, draw in zip(texts, draws, strict=True)] for draws in (before, after)
    )
    return HeadToHead(
        policy=name,
        judge=judge_name,
        reference_mean=quality.mean_interval(one),
        policy_mean=quality.mean_interval(other),
        kl=quality.mean_interval(kl_of(workshop, policy, after)),
        wins=sum(new > old for old, new in zip(one, other, strict=True)),
        losses=sum(new < old for old, new in zip(one, other, strict=True)),
        valid_reference=sum(draw.valid for draw in before) / len(texts),
        valid_policy=sum(draw.valid for draw in after) / len(texts),
    )


def write(workshop: Workshop, plan: SamplePlan, said: Said) -> list[SampleDraw]:
    """One sample of each of the plan's prompts, valid or not."""
    draws: list[SampleDraw] = []
    for start in range(0, len(plan.prompts), CHUNK):
        part = replace(plan, prompts=plan.prompts[start : start + CHUNK], seed=plan.seed + start)
        draws += [one[0] for one in workshop.write_once(part)]
        said(f"{len(draws)} of {len(plan.prompts)} samples")
    return draws


def kl_of(workshop: Workshop, plan: SamplePlan, draws: Sequence[SampleDraw]) -> list[float]:
    """Nats per sample to the reference, over the tokens that its text holds."""
    reference, found = workshop.reference(plan.policy), []
    for start in range(0, len(draws), CHUNK):
        rows = draws[start : start + CHUNK]
        texts = [prompt.text for prompt in plan.prompts[start : start + CHUNK]]
        queries, mask = reference.encode(texts, plan.task)
        responses = torch.tensor([row.tokens for row in rows], device=queries.device)
        with torch.inference_mode(), workshop.autocast():
            out = reference.policy(queries, mask, responses, temperature=plan.task.temperature)
        logprobs = torch.tensor([row.logprobs for row in rows], device=queries.device)
        lengths = torch.tensor([row.kept_tokens for row in rows], device=queries.device)
        kl = kl_per_token(logprobs, out.logprobs)
        found += kl_per_episode(kl, response_mask(lengths, responses.shape[1])).tolist()
    return found


def _mean(mean: quality.Mean) -> str:
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] (n = {mean.n})"
