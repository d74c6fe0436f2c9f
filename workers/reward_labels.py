"""Labels as a reward model reads them: token ids of samples, and what their scores should come to."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from workers.rlhf.calibration import has_pick
from workers.rlhf.labels import Choice, LabelKind, require_distributions


class EncodedSample(NamedTuple):
    """One sample as the reward model reads it."""

    query: tuple[int, ...]
    """Token ids."""
    response: tuple[int, ...]
    """Token ids that were kept."""

    @property
    def key(self) -> bytes:
        """32 bytes that equal tokens alone share."""
        return hashlib.sha256(repr((self.query, self.response)).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedLabel:
    """One label: samples of one prompt, and what was said of them."""

    prompt: str
    """Digest of the prompt's normalised text, not the id of a row; what shares it is held out together."""
    query: tuple[int, ...]
    """Token ids."""
    responses: tuple[tuple[int, ...], ...]
    """Kept token ids of each sample: k of a choice, one that was rated, two that differ."""
    target: tuple[float, ...]
    """As the kind of label has it: a share of each sample, the rating, or the difference."""
    weight: float = 1.0
    """Of its loss in training; what is held out is measured without weights."""

    @property
    def samples(self) -> list[EncodedSample]:
        """Its k samples."""
        return [EncodedSample(self.query, response) for response in self.responses]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardData:
    """What a reward model is made of."""

    train: Sequence[EncodedLabel]
    """All usable labels that train."""
    valid: Sequence[EncodedLabel]
    """Labels on prompts that train nothing; may be empty."""
    normalization: Sequence[EncodedSample]
    """Samples of the reference on train prompts, neither cut nor filtered; they set the scale of the scores."""
    kind: LabelKind = field(default_factory=Choice)
    """Of all labels."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("there are no labels to fit a reward model to")
        labels = (*self.train, *self.valid)
        if len(counts := sorted({len(label.responses) for label in labels})) > 1:
            raise ValueError(f"labels are about {counts} samples each: fit one reward model to labels of one kind")
        if isinstance(self.kind, Choice):
            require_distributions(targets_of(labels))
            if not has_pick(targets_of(self.train)).any():
                raise ValueError("every label is a tie: label on until some sample is better than another")
        if both := {label.prompt for label in self.train} & {label.prompt for label in self.valid}:
            raise ValueError(f"{len(both)} prompts are in train and valid: split by prompt, or valid measures nothing")


def weights_of(labels: Sequence[EncodedLabel]) -> Tensor | None:
    """(n,) float64; None where all labels weigh the same."""
    weights = torch.tensor([label.weight for label in labels], dtype=torch.float64)
    return None if bool((weights == 1).all()) else weights


def targets_of(labels: Sequence[EncodedLabel]) -> Tensor:
    """(n, m) float64. Raises: ValueError if they differ in length."""
    return torch.tensor([label.target for label in labels], dtype=torch.float64)
