"""Kinds of things: the words that tables, schedules and trainers share. Standard library only."""

from enum import StrEnum


class JobKind(StrEnum):
    """What a job asks for."""

    SAMPLE = "sample"
    """Write samples for people with the serving policy."""
    SCORE = "score"
    """Score open samples with the newest reward model."""
    SHOWCASE = "showcase"
    """Continue fixed test prompts with a policy, for the dashboard."""
    GENERATE = "generate"
    """Continue a prompt that a researcher typed."""
    TRAIN_REWARD = "train_reward"
    TRAIN_POLICY = "train_policy"
    IMPORT_MODEL = "import_model"
    """Register the base model as the run's reference policy."""


class Split(StrEnum):
    """Train teaches, valid selects, test reports. Decided once by a hash of the normalised text."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Verdict(StrEnum):
    """The answer."""

    BEST = "best"
    TIE = "tie"
    NONE = "none"
    """None of the four is good."""
    SKIP = "skip"
    UNDONE = "undone"
    """Takes back the revision before it."""
