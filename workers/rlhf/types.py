"""The batches that training passes around: named, frozen and checked once, at the door."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBatch:
    """Queries in the two forms in which they are read."""

    ids: Tensor
    """(b, q) int64 token ids, left-padded; what policy and reference continue."""
    mask: Tensor
    """(b, q) bool; True marks a real token."""
    raw_ids: Tensor
    """(b, p) int64 token ids, left-padded; what the reward model reads before the response."""
    raw_mask: Tensor
    """(b, p) bool; True marks a real token."""

    def __post_init__(self) -> None:
        b, q = _matrix("ids", self.ids)
        _, p = _matrix("raw_ids", self.raw_ids)
        _require_shapes(self, {"mask": (b, q), "raw_ids": (b, p), "raw_mask": (b, p)}, beside="ids")
        _require_dtypes(self, torch.int64, "ids", "raw_ids")
        _require_dtypes(self, torch.bool, "mask", "raw_mask")
        message = "must be left-padded with at least one real token per row"
        _require_facts({f"mask {message}": _left_padded(self.mask), f"raw_mask {message}": _left_padded(self.raw_mask)})

    @classmethod
    def same(cls, ids: Tensor, mask: Tensor) -> "QueryBatch":
        """Queries that the reward model reads as the policy does: (b, q) int64 ids and bool mask, left-padded."""
        return cls(ids=ids, mask=mask, raw_ids=ids, raw_mask=mask)

    def rows(self, rows: slice) -> "QueryBatch":
        """Some of them."""
        return QueryBatch(
            ids=self.ids[rows], mask=self.mask[rows], raw_ids=self.raw_ids[rows], raw_mask=self.raw_mask[rows]
        )

    @property
    def batch_size(self) -> int:
        """Queries in this batch."""
        return self.ids.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkStates:
    """What the lowest blocks of a trunk make of query and response, computed once and read by all that lies above."""

    layer: int
    """So many blocks made them, at least one."""
    states: Tensor
    """(b, q + r - 1, width) float, without gradient; nothing is predicted from the last token. With that one too, so
    that they are q + r, where a reward model reads them."""

    def __getitem__(self, rows: Tensor | slice) -> "TrunkStates":
        """Those of some texts."""
        return TrunkStates(layer=self.layer, states=self.states[rows])

    def first(self, tokens: int) -> "TrunkStates":
        """Those of so many tokens of each text."""
        return TrunkStates(layer=self.layer, states=self.states[:, :tokens])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One batch from the current policy, not scored yet. One row is one episode."""

    queries: QueryBatch
    responses: Tensor
    """(b, r) int64 token ids as sampled, before truncation."""
    logprobs: Tensor
    """(b, r) float, nats; the policy that sampled, at the sampling temperature."""
    ref_logprobs: Tensor
    """(b, r) float, nats; the reference policy on the same tokens and temperature."""
    values: Tensor
    """(b, r) float; value head before this update."""
    tokens: Tensor
    """(b, r) int64; the responses truncated and right-padded: what is scored and shown."""
    lengths: Tensor
    """(b,) int64 in [1, r]; tokens kept by truncation, r where invalid."""
    valid: Tensor
    """(b,) bool; True where a terminator was found, everywhere if the task has none."""
    trunk: TrunkStates | None = None
    """Of the frozen layers, which policy and reference share; None where there are none."""
    scores: Tensor | None = None
    """(b,) float; of a frozen reward model that reads the reference's hidden states; None: it is still to be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One batch from the current policy, scored and ready for PPO. One row is one episode."""

    queries: Tensor
    """(b, q) int64 token ids, left-padded."""
    query_mask: Tensor
    """(b, q) bool; True marks a real token."""
    responses: Tensor
    """(b, r) int64 token ids as sampled, before truncation."""
    logprobs: Tensor
    """(b, r) float, nats; the policy that sampled, at the sampling temperature."""
    ref_logprobs: Tensor
    """(b, r) float, nats; the reference policy on the same tokens and temperature."""
    values: Tensor
    """(b, r) float; value head before this update."""
    scores: Tensor
    """(b,) float; reward model's score of the truncated response, the penalty put in where invalid."""
    valid: Tensor
    """(b,) bool; True where a terminator was found."""
    lengths: Tensor
    """(b,) int64 in [1, r]; tokens kept by truncation, r where invalid."""
    trunk: TrunkStates | None = None
    """Of the frozen layers; None: every pass computes them."""

    def __post_init__(self) -> None:
        b, q = _matrix("queries", self.queries)
        _, r = _matrix("responses", self.responses)
        if self.trunk is not None and self.trunk.states.shape[:2] != (b, q + r - 1):
            raise ValueError(f"trunk has states {tuple(self.trunk.states.shape)}, expected ({b}, {q + r - 1}, width)")
        _require_shapes(
            self,
            {
                "query_mask": (b, q),
                "responses": (b, r),
                **dict.fromkeys(("logprobs", "ref_logprobs", "values"), (b, r)),
                **dict.fromkeys(("scores", "valid", "lengths"), (b,)),
            },
        )
        _require_dtypes(self, torch.int64, "queries", "responses", "lengths")
        _require_dtypes(self, torch.bool, "query_mask", "valid")
        _require_facts(
            {
                "query_mask must be left-padded with at least one real token per row": _left_padded(self.query_mask),
                f"lengths must lie in [1, {r}]": ((self.lengths >= 1) & (self.lengths <= r)).all(),
                f"lengths must be {r} where valid is False": (self.valid | (self.lengths == r)).all(),
                "logprobs must be finite": self.logprobs.isfinite().all(),
                "ref_logprobs must be finite": self.ref_logprobs.isfinite().all(),
                "values must be finite": self.values.isfinite().all(),
                "scores must be finite": self.scores.isfinite().all(),
            }
        )

    @property
    def batch_size(self) -> int:
        """Episodes in this rollout."""
        return self.queries.shape[0]

    def select(self, index: Tensor) -> "Rollout":
        """The episodes at `index`, a (n,) int64 of rows or a (b,) bool of rows to keep: one minibatch."""
        trunk = None if self.trunk is None else self.trunk[index]
        named = [field.name for field in fields(self) if field.name != "trunk"]
        return Rollout(**{name: getattr(self, name)[index] for name in named}, trunk=trunk)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonBatch:
    """Labeled comparisons for the reward model: k responses to one query, and which was picked."""

    queries: Tensor
    """(b, q) int64 token ids, left-padded."""
    query_mask: Tensor
    """(b, q) bool; True marks a real token."""
    responses: Tensor
    """(b, k, r) int64 token ids, truncated and right-padded."""
    response_mask: Tensor
    """(b, k, r) bool; True marks a kept token."""
    best: Tensor
    """(b,) int64 in [0, k); the response that was picked."""

    def __post_init__(self) -> None:
        b, q = _matrix("queries", self.queries)
        if self.responses.dim() != 3:
            raise ValueError(f"responses must have 3 dimensions (b, k, r), got shape {tuple(self.responses.shape)}")
        _, k, r = self.responses.shape
        _require_shapes(self, {"query_mask": (b, q), "responses": (b, k, r), "response_mask": (b, k, r), "best": (b,)})
        _require_dtypes(self, torch.int64, "queries", "responses", "best")
        _require_dtypes(self, torch.bool, "query_mask", "response_mask")
        _require_facts(
            {
                "query_mask must be left-padded with at least one real token per row": _left_padded(self.query_mask),
                "response_mask must be right-padded with at least one real token per response": _left_padded(
                    self.response_mask.flip(-1)
                ),
                f"best must lie in [0, {k})": ((self.best >= 0) & (self.best < k)).all(),
            }
        )

    @property
    def batch_size(self) -> int:
        """Comparisons in this batch."""
        return self.queries.shape[0]


def _matrix(name: str, tensor: Tensor) -> tuple[int, int]:
    if tensor.dim() != 2 or 0 in tensor.shape:
        raise ValueError(f"{name} must be a matrix without an empty side, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    return rows, columns


def _require_shapes(batch: object, expected: Mapping[str, tuple[int, ...]], *, beside: str = "queries") -> None:
    for name, shape in expected.items():
        got = tuple(getattr(batch, name).shape)
        if got != shape:
            known = tuple(getattr(batch, beside).shape)
            raise ValueError(f"{name} has shape {got}, expected {shape} beside {beside} {known}")


def _require_dtypes(batch: object, dtype: torch.dtype, *names: str) -> None:
    for name in names:
        got = getattr(batch, name).dtype
        if got != dtype:
            raise ValueError(f"{name} has dtype {got}, expected {dtype}")


def _left_padded(mask: Tensor) -> Tensor:
    """() bool; True if each row is some False, then at least one True up to the end."""
    return (mask[..., 1:] >= mask[..., :-1]).all() & mask[..., -1].all()


def _require_facts(facts: Mapping[str, Tensor]) -> None:
    # One stack, so that a GPU is waited for once and not once per fact.
    for message, holds in zip(facts, torch.stack(list(facts.values())).tolist(), strict=True):
        if not holds:
            raise ValueError(message)
