"""Base models on this machine: weights that never change, and their tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.hparams import TaskHParams
from workers.nets.policy import Policy
from workers.nets.tokenizer import encode_queries, terminator_ids
from workers.rlhf.types import QueryBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A base model on this machine: weights that never change, and its tokenizer."""

    folder: Path
    digest: str
    policy: Policy
    tokenizer: PreTrainedTokenizerBase
    _terminators: dict[str | None, Tensor] = field(default_factory=dict)

    def encode(self, texts: Sequence[str], task: TaskHParams) -> tuple[Tensor, Tensor]:
        """(b, q) int64 ids and bool mask of prompts, left-padded."""
        ids, mask = encode_queries(self.tokenizer, list(texts), max_tokens=task.query_tokens)
        device = self.policy.language_model.device
        return ids.to(device), mask.to(device)

    def queries(self, texts: Sequence[str], task: TaskHParams, reward_query: Literal["formatted", "raw"]) -> QueryBatch:
        """Prompts as policy and reference read them, and as the reward model does (RewardHParams.query)."""
        ids, mask = self.encode(texts, task)
        if reward_query == "formatted" or not (task.prefix or task.suffix):
            return QueryBatch.same(ids, mask)
        raw_ids, raw_mask = self.encode(texts, task)
        return QueryBatch(ids=ids, mask=mask, raw_ids=raw_ids, raw_mask=raw_mask)

    def terminators(self, task: TaskHParams) -> Tensor:
        """(t,) int64 ids that end a response; none where the task has no terminator."""
        if task.terminator not in self._terminators:  # the tokenizer is asked for each token of its vocabulary
            ids = [] if task.terminator is None else terminator_ids(self.tokenizer, task.terminator)
            device = self.policy.language_model.device
            self._terminators[task.terminator] = torch.tensor(ids, dtype=torch.int64, device=device)
        return self._terminators[task.terminator]
