"""Base models on this machine: weights that never change, and their tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.hparams import TaskHParams
from workers.nets.policy import Policy
from workers.nets.tokenizer import encode_queries, terminator_ids


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

    def terminators(self, task: TaskHParams) -> Tensor:
        """(t,) int64 ids that end a response; none where the task has no terminator."""
        if task.terminator not in self._terminators:  # the tokenizer is asked for each token of its vocabulary
            ids = [] if task.terminator is None else terminator_ids(self.tokenizer, task.terminator)
            device = self.policy.language_model.device
            self._terminators[task.terminator] = torch.tensor(ids, dtype=torch.int64, device=device)
        return self._terminators[task.terminator]
