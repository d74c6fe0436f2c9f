"""What an experiment came to, measured by the known reward on test prompts."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch

from app import quality
from app.kinds import Split
from app.rules import Score
from workers.head_to_head import head_to_head, kl_of, write
from workers.offline import events
from workers.offline.events import AnyEvent
from workers.offline.ledger import Ledger
from workers.offline.planning import Planner
from workers.offline.prompts import PromptPool
from workers.plans import SamplePlan
from workers.rlhf.frontier import sampled_optimum
from workers.workshop import Workshop

FRONTIER_SAMPLES = 256
OPTIMUM_PROMPTS = 64
OPTIMUM_DRAWS = 128
"""Samples of the reference to each of them; no KL above ln 128 = 4.9 nats can be seen."""
KL_COEFS = tuple(2.0**exponent for exponent in range(3, -5, -1))
"""Times the known reward's standard deviation."""
SEED = 1_000_000_007
"""Of the measuring samples, far from those of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """Measures a finished experiment; what is measured already is not measured again."""

    ledger: Ledger
    prompts: PromptPool
    workshop: Workshop
    judge: Score
    samples: int
    """Of each policy in the last comparison."""
    note: Callable[[AnyEvent], None]
    """Writes an event down."""
    said: Callable[[str], None]

    def run(self) -> None:
        """Every published policy, the last one against the reference, and the optimum, which takes longest."""
        for policy in self.ledger.policies:
            if policy.number not in self.ledger.judged:
                self.said(f"measuring policy {policy.number} of {len(self.ledger.policies) - 1}")
                self.note(self._judged(policy.number))
        if self.ledger.final is None and self.ledger.policies:
            self.said("comparing the last policy with the reference")
            self.note(self._final())
        if self.ledger.optimum is None:
            self.said("estimating the optimum")
            self.note(self._optimum())

    def _judged(self, number: int) -> events.Judged:
        plan = self._plan(number, FRONTIER_SAMPLES)
        draws = write(self.workshop, plan, lambda _: None)  # a line for each policy is enough
        texts = [prompt.text for prompt in plan.prompts]
        rewards = [self.judge(prompt, draw.text) for prompt, draw in zip(texts, draws, strict=True)]
        kept = [(prompt, tuple(draw.tokens[: draw.kept_tokens])) for prompt, draw in zip(texts, draws, strict=True)]
        model = self._planner.reward_model(self.ledger.policies[number].reward_model)
        judged = self.workshop.judge(plan.policy, model, kept, plan.task)
        return events.Judged(
            policy=number,
            reward=_interval(rewards),
            kl=_interval(kl_of(self.workshop, plan, draws)),
            score=fmean(one.score for one in judged),
        )

    def _optimum(self) -> events.Optimum:
        plan = self._plan(None, OPTIMUM_PROMPTS)
        written = self.workshop.write_once(plan, count=OPTIMUM_DRAWS)
        rewards = [
            [self.judge(prompt.text, draw.text) for draw in draws]
            for prompt, draws in zip(plan.prompts, written, strict=True)
        ]
        table = torch.tensor(rewards, dtype=torch.float64)  # a judge may count
        spread = max(table.std(correction=0).item(), 1e-6)
        points = tuple(tuple(point) for point in sampled_optimum(table, [spread * coef for coef in KL_COEFS]))
        return events.Optimum(reference=table.mean().item(), points=points)

    def _final(self) -> events.Final:
        last = self.ledger.policies[-1].number
        result = head_to_head(
            self.workshop,
            self._plan(None, self.samples),
            self._plan(last, self.samples),
            name=f"policy {last}",
            judge_name=self.ledger.setup.labeler,
            judge=self.judge,
            said=self.said,
        )
        self.said(str(result))
        return events.Final(policy=last, result=result.as_json() | {"win_rate": result.win_rate})

    def _plan(self, policy: int | None, count: int) -> SamplePlan:
        test = self.prompts.by_split[Split.TEST]
        return self._planner.writing([test[i % len(test)] for i in range(count)], policy, seed=SEED)

    @property
    def _planner(self) -> Planner:
        return Planner(ledger=self.ledger, prompts=self.prompts)


def _interval(values: list[float]) -> tuple[float, float, float]:
    mean = quality.mean_interval(values)
    return mean.mean, mean.low, mean.high
