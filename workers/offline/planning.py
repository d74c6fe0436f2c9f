"""From the ledger of an experiment to the plans that trainers carry out; the place of `workers.data`."""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from app.kinds import JobKind, Split
from workers.offline.ledger import Ledger
from workers.offline.prompts import PromptPool
from workers.plans import LabeledComparison, PolicyFiles, PPOPlan, PromptText, RewardFiles, RewardPlan, SamplePlan
from workers.rlhf.labels import even, picked

NORMALIZATION_PROMPTS = 512
SHOWCASE_PROMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Plans for what comes next."""

    ledger: Ledger
    prompts: PromptPool

    def seed(self, kind: JobKind) -> int:
        """A seed in [0, 2^62) for the next job of a kind: the same for each attempt, different for each step."""
        step = self.ledger.steps[DONE[kind]]
        key = f"{self.ledger.hparams.seed}:{kind}:{step}"
        return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)

    def policy(self, number: int | None) -> PolicyFiles:
        """Files of a policy; None is the reference."""
        assert self.ledger.reference is not None, "plans are made once the base model is there"
        return PolicyFiles(
            checkpoint_id=_id("policy", number),
            base_model=self.ledger.setup.base_model,
            reference_digest=self.ledger.reference,
            digest=None if number is None else self.ledger.policies[number].digest,
        )

    def reward(self) -> RewardFiles | None:
        """Files of the newest reward model, if there is one."""
        return self.reward_model(len(self.ledger.rewards) - 1) if self.ledger.rewards else None

    def reward_model(self, number: int) -> RewardFiles:
        """Files of a reward model."""
        heads = self.ledger.hparams.reward.heads
        return RewardFiles(checkpoint_id=_id("reward", number), digest=self.ledger.rewards[number].digest, heads=heads)

    def sample(self, count: int) -> tuple[SamplePlan, list[Split]]:
        """Prompts for so many comparisons, a share of them from the valid split, and the split of each."""
        hparams, seed = self.ledger.hparams, self.seed(JobKind.SAMPLE)
        rng, asked = random.Random(seed), Counter(one.prompt for one in self.ledger.comparisons)
        valid = sum(rng.random() < hparams.schedule.valid_fraction for _ in range(count))
        train = self.prompts.pick(Split.TRAIN, count - valid, asked=asked, seed=seed)
        held_out = self.prompts.pick(Split.VALID, valid, asked=asked, seed=seed)
        splits = [Split.TRAIN] * len(train) + [Split.VALID] * len(held_out)
        return self.writing([*train, *held_out], self.ledger.serving, seed=seed, reward=self.reward()), splits

    def showcase(self, policy: int | None) -> SamplePlan:
        """The fixed test prompts: the same for every policy, with the same seed."""
        texts = self.prompts.by_split[Split.TEST][:SHOWCASE_PROMPTS]
        return self.writing(texts, policy, seed=self.ledger.hparams.seed)

    def writing(
        self, texts: Sequence[str], policy: int | None, *, seed: int, reward: RewardFiles | None = None
    ) -> SamplePlan:
        """Continue these texts with a policy."""
        return SamplePlan(
            policy=self.policy(policy),
            reward=reward,
            task=self.ledger.hparams.task,
            prompts=tuple(PromptText(id=_id("prompt", text), text=text) for text in texts),
            purposes=(),
            seed=seed,
        )

    def training(self) -> tuple[RewardPlan, list[int]]:
        """A reward model on all usable labels, and the comparisons they are of."""
        train = self.ledger.usable(Split.TRAIN)
        plan = RewardPlan(
            reference=self.policy(None),
            hparams=self.ledger.hparams,
            train=tuple(map(self._labeled, train)),
            valid=tuple(map(self._labeled, self.ledger.usable(Split.VALID))),
            normalization_prompts=self.prompts.by_split[Split.TRAIN][:NORMALIZATION_PROMPTS],
            seed=self.seed(JobKind.TRAIN_REWARD),
        )
        return plan, train

    def ppo(self, updates: int) -> PPOPlan:
        """Go on with PPO where the last job ended."""
        ledger, reward = self.ledger, self.reward()
        assert reward is not None, "PPO starts after the first reward model"
        last = ledger.trainings[-1] if ledger.trainings else None
        return PPOPlan(
            reference=self.policy(None),
            state_digest=last.state_digest if last else None,
            reward=reward,
            hparams=ledger.hparams,
            queries=self.prompts.by_split[Split.TRAIN],
            update=last.update if last else 0,
            updates=updates,
            published_episodes=ledger.policies[-1].episodes if ledger.policies else 0,
            reward_episodes=ledger.reward_episodes,
        )

    def _labeled(self, number: int) -> LabeledComparison:
        compared, label = self.ledger.comparisons[number], self.ledger.labels[number]
        k = len(compared.samples)
        return LabeledComparison(
            label_id=_id("label", number),
            prompt_id=_id("prompt", compared.prompt),
            prompt=compared.prompt,
            sample_ids=tuple(_id(f"sample {number}", place) for place in range(k)),
            responses=tuple(sample.tokens for sample in compared.samples),
            target=even(k) if label.best is None else picked(label.best, k),
        )


DONE = {
    JobKind.SAMPLE: "sampled",
    JobKind.SCORE: "scored",
    JobKind.SHOWCASE: "shown",
    JobKind.TRAIN_REWARD: "rewarded",
    JobKind.TRAIN_POLICY: "trained",
}
"""The event that ends a job of a kind."""


def _id(kind: str, name: object) -> UUID:
    return uuid5(NAMESPACE_URL, f"{kind}:{name}")
