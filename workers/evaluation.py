"""A policy against its reference on test prompts, by a judge that gives numbers.

Both continue the same prompts, one sample each without rejection, as PPO sees them. Reported: the judge's mean of each
with its interval, the share of prompts on which the policy's sample is better, and the KL that it cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import quality, runs
from app.db import SessionFactory, session_scope
from app.errors import InvalidError, NotFoundError
from app.models import Checkpoint, CheckpointKind, Evaluation, Prompt, Run, Split
from workers.data.common import policy_files
from workers.judges import Judge
from workers.plans import PromptText, SamplePlan
from workers.rlhf.kl import kl_per_episode, kl_per_token
from workers.rlhf.masks import response_mask
from workers.sampler import SampleDraw
from workers.workshop import Workshop

CHUNK = 64
"""Prompts at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to evaluate."""

    run_id: UUID | None
    policy_number: int | None
    judge_name: str
    judge: Judge
    samples: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result, also kept as an Evaluation row."""

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

    def __str__(self) -> str:
        won = quality.wilson_interval(self.wins, self.wins + self.losses)
        share = self.wins / max(self.wins + self.losses, 1)
        return "\n".join(
            (
                f"{self.judge} of the reference's samples: {_mean(self.reference_mean)}",
                f"{self.judge} of {self.policy}'s samples: {_mean(self.policy_mean)}",
                f"{self.policy} better on {share:.1%} [{won.low:.1%}, {won.high:.1%}] of {self.wins + self.losses} "
                "untied prompts",
                f"KL to the reference: {_mean(self.kl)} nats per sample",
                f"ended in time: {self.valid_reference:.1%} of the reference's, {self.valid_policy:.1%} of the other's",
            )
        )


def evaluate(
    factory: SessionFactory, workshop: Workshop, options: Options, *, progress: Callable[[str], None]
) -> Report:
    """Sample, judge, keep. Raises: NotFoundError without such a run or policy; InvalidError without test prompts."""
    with session_scope(factory) as session:
        run = _run(session, options.run_id)
        policy = _policy(session, run, options.policy_number)
        pair = [_plan(session, run, run.reference_id, options), _plan(session, run, policy.id, options)]
    written = [_write(workshop, plan, progress) for plan in pair]
    report = _report(f"policy {policy.number}", options, pair[1], written, _kl(workshop, pair[1], written[1]))
    progress(str(report))  # said before it is kept: a database that went away must not cost minutes of sampling
    with session_scope(factory) as session:
        session.add(
            Evaluation(
                run_id=run.id,
                policy_id=policy.id,
                judge=options.judge_name,
                samples=options.samples,
                result=_stored(report),
            )
        )
    return report


def _run(session: Session, run_id: UUID | None) -> Run:
    if run_id is not None:
        return runs.get(session, run_id)
    newest = next(iter(runs.newest_first(session)), None)
    if newest is None:
        raise NotFoundError("There is no run yet: `prefloop up` makes the first.")
    return newest


def _policy(session: Session, run: Run, number: int | None) -> Checkpoint:
    kind = (Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.POLICY)
    which = Checkpoint.id == run.serving_id if number is None else Checkpoint.number == number
    policy = session.scalar(select(Checkpoint).where(*kind, which))
    if policy is None:
        raise NotFoundError(
            "No policy serves yet beside the reference itself; wait for the first promotion."
            if number is None
            else f"Run {run.name} has no policy {number}."
        )
    return policy


def _plan(session: Session, run: Run, checkpoint_id: UUID | None, options: Options) -> SamplePlan:
    hparams = runs.hparams_of(run)
    test = (Prompt.prompt_set == hparams.prompt_set, Prompt.split == Split.TEST)
    prompts = session.scalars(select(Prompt).where(*test).order_by(Prompt.digest)).all()
    if not prompts:
        raise InvalidError(f"The prompt set {hparams.prompt_set} has no prompts in its test split: import more.")
    taken = [prompts[i % len(prompts)] for i in range(options.samples)]
    return SamplePlan(
        policy=policy_files(session, run, checkpoint_id),
        reward=None,
        task=hparams.task,
        prompts=tuple(PromptText(id=prompt.id, text=prompt.text) for prompt in taken),
        purposes=(),
        seed=options.seed,
    )


def _write(workshop: Workshop, plan: SamplePlan, progress: Callable[[str], None]) -> list[SampleDraw]:
    draws: list[SampleDraw] = []
    for start in range(0, len(plan.prompts), CHUNK):
        draws += [one[0] for one in workshop.write_once(_part(plan, start))]
        progress(f"{len(draws)} of {len(plan.prompts)} samples")
    return draws


def _part(plan: SamplePlan, start: int) -> SamplePlan:
    return SamplePlan(
        policy=plan.policy,
        reward=None,
        task=plan.task,
        prompts=plan.prompts[start : start + CHUNK],
        purposes=(),
        seed=plan.seed + start,
    )


def _kl(workshop: Workshop, plan: SamplePlan, draws: Sequence[SampleDraw]) -> list[float]:
    """Nats per sample, over the tokens that its text holds."""
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


def _report(
    policy: str, options: Options, plan: SamplePlan, written: Sequence[Sequence[SampleDraw]], kl: list[float]
) -> Report:
    texts = [prompt.text for prompt in plan.prompts]
    reference, tuned = (
        [options.judge(prompt, draw.text) for prompt, draw in zip(texts, draws, strict=True)] for draws in written
    )
    pairs = list(zip(reference, tuned, strict=True))
    return Report(
        policy=policy,
        judge=options.judge_name,
        reference_mean=quality.mean_interval(reference),
        policy_mean=quality.mean_interval(tuned),
        kl=quality.mean_interval(kl),
        wins=sum(new > old for old, new in pairs),
        losses=sum(new < old for old, new in pairs),
        valid_reference=sum(draw.valid for draw in written[0]) / len(texts),
        valid_policy=sum(draw.valid for draw in written[1]) / len(texts),
    )


def _stored(report: Report) -> dict[str, float]:
    means = {"reference": report.reference_mean, "policy": report.policy_mean, "kl": report.kl}
    flat = {
        f"{name}_{part}": getattr(mean, part) for name, mean in means.items() for part in ("mean", "low", "high", "n")
    }
    return flat | {"wins": report.wins, "losses": report.losses}


def _mean(mean: quality.Mean) -> str:
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] (n = {mean.n})"
