"""Base models on this machine: weights that never change, and their tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.hparams import RunHParams, TaskHParams
from app.texts import digest_of
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import encode_queries, load_tokenizer, terminator_ids
from workers.plans import LabeledComparison
from workers.reward_labels import EncodedLabel, EncodedSample
from workers.rlhf.types import QueryBatch
from workers.sampler import InvalidWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A base model on this machine: weights that never change, and its tokenizer."""

    folder: Path
    digest: str
    policy: Policy
    tokenizer: PreTrainedTokenizerBase
    watch: InvalidWatch = field(default_factory=InvalidWatch)
    """What this process has seen of the model's samples; short jobs add up."""
    _terminators: dict[tuple[str | None, str, bool], Tensor] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, *, device: torch.device | str = "cpu") -> Self:
        """Read a base model and its tokenizer. Raises: ValueError if the folder has none that is supported."""
        return cls(
            folder=folder,
            digest=weights_digest(folder),
            policy=Policy(LanguageModel.load(folder, device=device)).requires_grad_(False),
            tokenizer=load_tokenizer(folder),
        )

    def encode(self, texts: Sequence[str], task: TaskHParams, *, formatted: bool = True) -> tuple[Tensor, Tensor]:
        """(b, q) int64 ids and bool mask of prompts, left-padded; without prefix and suffix unless `formatted`."""
        ids, mask = encode_queries(
            self.tokenizer,
            list(texts),
            max_tokens=task.query_tokens,
            prefix=task.prefix if formatted else "",
            suffix=task.suffix if formatted else "",
        )
        device = self.policy.language_model.device
        return ids.to(device), mask.to(device)

    def samples(
        self, texts: Sequence[tuple[str, Sequence[int]]], task: TaskHParams, reward_query: Literal["formatted", "raw"]
    ) -> list[EncodedSample]:
        """Samples, each a prompt and its kept token ids, as a reward model reads them (RewardHParams.query)."""
        ids, mask = self.encode([prompt for prompt, _ in texts], task, formatted=reward_query == "formatted")
        return [
            EncodedSample(tuple(row[real].tolist()), tuple(response))
            for row, real, (_, response) in zip(ids, mask, texts, strict=True)
        ]

    def label(self, labeled: LabeledComparison, hparams: RunHParams) -> EncodedLabel:
        """A label with its samples, as a reward model reads them."""
        pairs = [(labeled.prompt, ids) for ids in labeled.responses]
        samples = self.samples(pairs, hparams.task, hparams.reward.query)
        return EncodedLabel(
            prompt=digest_of(labeled.prompt),
            query=samples[0].query,
            responses=tuple(sample.response for sample in samples),
            target=labeled.target,
            weight=labeled.weight,
        )

    def queries(self, texts: Sequence[str], task: TaskHParams, reward_query: Literal["formatted", "raw"]) -> QueryBatch:
        """Prompts as policy and reference read them, and as the reward model does (RewardHParams.query)."""
        ids, mask = self.encode(texts, task)
        if reward_query == "formatted" or not (task.prefix or task.suffix):
            return QueryBatch.same(ids, mask)
        raw_ids, raw_mask = self.encode(texts, task, formatted=False)
        return QueryBatch(ids=ids, mask=mask, raw_ids=raw_ids, raw_mask=raw_mask)

    def terminators(self, task: TaskHParams) -> Tensor:
        """(t,) int64 ids that end a response; none where nothing ends one (TaskHParams.ends)."""
        key = (task.terminator, task.terminator_match, task.eos_ends)
        if key not in self._terminators:  # the tokenizer is asked for each token of its vocabulary
            ids = terminator_ids(self.tokenizer, task.terminator, match=task.terminator_match, eos=task.eos_ends)
            device = self.policy.language_model.device
            self._terminators[key] = torch.tensor(ids, dtype=torch.int64, device=device)
        return self._terminators[key]
