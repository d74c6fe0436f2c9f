"""The best-of-N policy: draw N samples, keep the one with the highest score.

It needs no training and is as good as its scorer; what it costs is N samples for one. Source: Stiennon et al. 2020.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.hparams import TaskHParams
from workers.nets.tokenizer import PAD_ID
from workers.ppo_trainer import Scorer
from workers.rlhf.best_of_n import best_of_n_kl
from workers.rlhf.masks import response_mask, truncate
from workers.rlhf.types import QueryBatch
from workers.sampler import MAX_ROWS, Writer, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class RawScorer:
    """Scores by the raw form of queries, for a choice among samples that follow the formatted form."""

    scorer: Scorer
    queries: QueryBatch
    """All that may be asked for."""

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        """(b, q) formatted ids and mask, (b, r) ids and mask -> (b,) float. Raises: ValueError on an unknown query."""
        same = (queries[:, None] == self.queries.ids).all(dim=2) & (query_mask[:, None] == self.queries.mask).all(dim=2)
        if not same.any(dim=1).all():
            raise ValueError("a query is none of those whose raw form is known")
        rows = same.int().argmax(dim=1)
        return self.scorer(self.queries.raw_ids[rows], self.queries.raw_mask[rows], responses, mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The samples kept; rows i*k .. i*k + k - 1 answer query i."""

    tokens: Tensor
    """(b * k, r) int64."""
    logprobs: Tensor
    """(b * k, r) float, nats; of the writer, not of the choice among its samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN:
    """A writer that lets another one write and keeps the best. Raises: ValueError unless n >= 1."""

    writer: Writer
    scorer: Scorer
    """Reads truncated samples, as in PPO."""
    n: int
    task: TaskHParams
    terminators: Tensor
    """(t,) int64 token ids that end a response; not used where nothing ends one (TaskHParams.ends)."""

    def __post_init__(self) -> None:
        best_of_n_kl(self.n)

    @property
    def kl(self) -> float:
        """Nats per response at most between this policy and its writer."""
        return best_of_n_kl(self.n)

    def generate(
        self,
        queries: Tensor,
        query_mask: Tensor,
        *,
        response_tokens: int,
        temperature: float,
        generator: torch.Generator,
        samples_per_query: int = 1,
    ) -> Chosen:
        """The best of N, `samples_per_query` times for each of (b, q) left-padded queries.

        A sample that does not end in time is kept only where none of the N does; of equal scores the first counts.
        """
        wanted = queries.repeat_interleave(samples_per_query, dim=0)
        mask = query_mask.repeat_interleave(samples_per_query, dim=0)
        step = max(1, MAX_ROWS // self.n)
        chosen = [
            self._best(wanted[rows], mask[rows], response_tokens, temperature, generator)
            for rows in (slice(start, start + step) for start in range(0, len(wanted), step))
        ]
        tokens, logprobs = (torch.cat(column) for column in zip(*chosen, strict=True))
        return Chosen(tokens=tokens, logprobs=logprobs)

    def _best(
        self, queries: Tensor, mask: Tensor, response_tokens: int, temperature: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(b, r) tokens and log-probs of the best of N answers to each of (b, q) queries."""
        parts = [
            self._best_part(
                queries,
                mask,
                self.writer.generate(
                    queries,
                    mask,
                    response_tokens=response_tokens,
                    temperature=temperature,
                    generator=generator,
                    samples_per_query=min(MAX_ROWS, self.n - start),
                ),
            )
            for start in range(0, self.n, MAX_ROWS)
        ]
        scores, tokens, logprobs = (torch.stack(column, dim=1) for column in zip(*parts, strict=True))
        rows, best = torch.arange(len(scores), device=scores.device), scores.argmax(dim=1)
        return tokens[rows, best], logprobs[rows, best]

    def _best_part(self, queries: Tensor, mask: Tensor, written: Written) -> tuple[Tensor, Tensor, Tensor]:
        """(b,) score, (b, r) tokens and log-probs of the best of some answers to each query."""
        b = len(queries)
        k = len(written.tokens) // b
        scores = self._scores(
            queries.repeat_interleave(k, dim=0), mask.repeat_interleave(k, dim=0), written.tokens
        ).view(b, k)
        rows = torch.arange(b, device=scores.device) * k + scores.argmax(dim=1)
        return scores.view(-1)[rows], written.tokens[rows], written.logprobs[rows]

    def _scores(self, queries: Tensor, mask: Tensor, responses: Tensor) -> Tensor:
        """(n,) float; -inf where a response does not end in time."""
        n, r = responses.shape
        kept, valid, lengths = responses, torch.ones_like(mask[:, 0]), torch.full_like(responses[:, 0], r)
        if self.task.ends:
            kept, valid, lengths = truncate(
                responses, terminators=self.terminators, min_index=self.task.min_terminator_index, pad_id=PAD_ID
            )
        with torch.no_grad():
            scores = self.scorer(queries, mask, kept, response_mask(lengths, r)).float()
        if not scores.isfinite().all():
            raise ValueError(f"{n - int(scores.isfinite().sum())} scores are not finite: look at the scorer")
        return scores.masked_fill(~valid, -torch.inf)
