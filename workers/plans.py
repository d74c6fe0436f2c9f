"""What a job is asked to compute and what it leaves behind, free of tables: plans go in, results come out.

`workers.data` makes them from rows, `workers.offline` from a folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from app.hparams import RewardHead, RunHParams, TaskHParams


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFiles:
    """Where a policy's weights are."""

    checkpoint_id: UUID
    base_model: str
    """Name of the reference it shares architecture and tokenizer with."""
    reference_digest: str
    digest: str | None
    """In the checkpoint store; None for the reference itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardFiles:
    """Where a reward model's weights are."""

    checkpoint_id: UUID
    digest: str
    heads: tuple[RewardHead, ...] = ()
    """Its run's candidates: what the frozen ones read of a sample that is scored is kept for the next fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """A prompt to continue."""

    id: UUID
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlan:
    """Continue these prompts with this policy."""

    policy: PolicyFiles
    reward: RewardFiles | None
    task: TaskHParams
    prompts: tuple[PromptText, ...]
    purposes: tuple[str, ...]
    """Of the comparison made from each prompt; empty where none is made."""
    seed: int
    against: PolicyFiles | None = None
    """Writes half of the samples of each validation comparison; None where the plan has no such."""
    validating: frozenset[int] = frozenset()
    """Indices of the prompts that get a validation comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """A sample to score again: its prompt and the ids people saw."""

    id: UUID
    prompt: str
    token_ids: tuple[int, ...]
    """Kept ids only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePlan:
    """Score these samples with this reward model."""

    policy: PolicyFiles
    reward: RewardFiles
    task: TaskHParams
    samples: tuple[StoredSample, ...]


class Judgement(NamedTuple):
    """What a reward model thinks of one sample."""

    score: float
    disagreement: float | None
    """Standard deviation over the members of an ensemble, in units of the score; None of a single model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledComparison:
    """One usable label with what it was about."""

    label_id: UUID
    prompt_id: UUID
    prompt: str
    sample_ids: tuple[UUID, ...]
    responses: tuple[tuple[int, ...], ...]
    """Kept token ids of each sample."""
    target: tuple[float, ...]
    """Share of each sample in being the best: 1 of the chosen one, even shares of a tie or of none."""
    weight: float = 1.0
    """Of its loss, beside a mean of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardPlan:
    """Fit a reward model to these labels."""

    reference: PolicyFiles
    hparams: RunHParams
    train: tuple[LabeledComparison, ...]
    valid: tuple[LabeledComparison, ...]
    """On prompts of the valid split, which train nothing."""
    normalization_prompts: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadPlan:
    """Compute what the first reward model will read, while people label."""

    reference: PolicyFiles
    hparams: RunHParams
    samples: tuple[StoredSample, ...]
    normalization_prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOutPlan:
    """Compare reward models fitted with and without one labeler's labels."""

    reference: PolicyFiles
    hparams: RunHParams
    everybody: tuple[LabeledComparison, ...]
    """What trains now."""
    theirs: frozenset[UUID]
    """Ids of the labeler's labels among them."""
    others: tuple[LabeledComparison, ...]
    """What would train without the labeler."""
    valid: tuple[LabeledComparison, ...]
    """Others' labels on prompts of the valid split."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A text that somebody wrote because it is better than a sample."""

    prompt: str
    better: str
    sample: tuple[int, ...]
    """Kept token ids of the sample that they had chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """Hold a reward model against changed texts."""

    reference: PolicyFiles
    reward: RewardFiles
    task: TaskHParams
    samples: tuple[StoredSample, ...]
    edited: tuple[Edited, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOPlan:
    """Go on with PPO from here."""

    reference: PolicyFiles
    state_digest: str | None
    """Training state in the checkpoint store; None: start from a policy or the reference."""
    policy_digest: str | None = None
    """Published policy to start from, with a fresh optimizer: the run was rolled back to it."""
    kl_coef: float | None = None
    """Coefficient to start with there; None: that of the hyperparameters."""
    reward: RewardFiles
    """Pinned for the whole job; a newer one counts from the next."""
    hparams: RunHParams
    queries: tuple[str, ...]
    """All prompts of the train split, in a fixed order."""
    update: int
    """Updates done."""
    updates: int
    """Updates that the labels allow now."""
    published_episodes: int
    """Episodes of the newest published policy."""
    reward_episodes: int
    """Episodes of the run when the reward model was fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOResult:
    """What a job leaves behind; the files are on disk already."""

    state_digest: str
    policy_digest: str | None
    """A policy published at the end of the job, if one was due."""
    update: int
    """Updates done, those before the job included."""
    kl_coef: float
    stats: Sequence[Mapping[str, float]]
    """One per update of the job."""
