"""Supervised fine-tuning: one model per learning rate, the best by held-out loss.

Everything random follows from the seed, the rate's number and the step, so that a resumed fit repeats an unbroken one.
Source: Ziegler et al. 2019, section 2.2 (the supervised baseline).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.hparams import SupervisedHParams
from workers.nets.language_model import LanguageModel
from workers.nets.precision import autocast
from workers.nets.value_head import response_hidden
from workers.rlhf.adam import TFAdam
from workers.rlhf.schedule import SEED_STRIDE, cosine_decay
from workers.supervised_data import Example, Examples, padded
from workers.supervised_state import Fitting, Trial

SAVE_SECONDS = 120.0
"""Between two savings of a half-done fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a fit stands."""

    trial: int
    """Number of the learning rate, from 0."""
    step: int
    """Optimizer steps done with it."""
    steps: int
    """In all with it."""
    loss: float
    """Of the last step, nats per token."""


Told = Callable[[Moment], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """A fit: what is learned, from which model, how."""

    examples: Examples
    load: Callable[[], LanguageModel]
    """Reads the base model anew."""
    hparams: SupervisedHParams
    seed: int
    bf16: bool

    @property
    def steps(self) -> int:
        """Optimizer steps with one learning rate."""
        return self.hparams.epochs * math.ceil(len(self.examples.train) / self.hparams.batch)

    def run(self, fitting: Fitting, *, told: Told, seconds: float = SAVE_SECONDS) -> LanguageModel:
        """Try every rate that `fitting` has not seen through; the best model, in memory.

        Args:
            fitting: what is done so far; it keeps what is done here.
            told: hears of every step.
            seconds: between two savings within one rate.
        Raises: ValueError if no rate gives a finite loss.
        """
        if fitting.base_loss is None:
            fitting.began(self.held_out_loss(self.load()))
        for number in range(len(fitting.trials), self.hparams.rates):
            model, trial = self._try(number, fitting, told, seconds)
            fitting.tried(trial, model)
            del model  # its memory is needed for the next one
        best = self.load()
        fitting.load_best(best)
        return best

    def held_out_loss(self, model: LanguageModel) -> float:
        """Mean negative log-likelihood of the held-out rows, nats per token, without dropout."""
        model.eval()
        valid = self.examples.valid
        with torch.no_grad():
            total = math.fsum(self._loss(model, some).item() for some in self._micro_batches(valid))
        return total / sum(len(one.response) for one in valid)

    def _try(self, number: int, fitting: Fitting, told: Told, seconds: float) -> tuple[LanguageModel, Trial]:
        rate, model = self.hparams.learning_rates[number], self.load()
        model.allow_dropout(self.hparams.dropout)
        optimizer = TFAdam([one for one in model.parameters() if one.requires_grad], lr=rate)
        start, saved = fitting.resume(model, optimizer), time.monotonic()
        for step in range(start, self.steps):
            for group in optimizer.param_groups:
                group["lr"] = cosine_decay(rate, step, self.steps)
            loss = self._step(model, optimizer, step)
            told(Moment(trial=number, step=step + 1, steps=self.steps, loss=loss))
            if not math.isfinite(loss):
                return model, Trial(learning_rate=rate, held_out_loss=None)
            if time.monotonic() - saved >= seconds:
                fitting.stopped_at(step + 1, model, optimizer)
                saved = time.monotonic()
        loss = self.held_out_loss(model)
        return model, Trial(learning_rate=rate, held_out_loss=loss if math.isfinite(loss) else None)

    def _step(self, model: LanguageModel, optimizer: TFAdam, step: int) -> float:
        """One optimizer step; the loss before it."""
        rows = self._batch(step)
        tokens = sum(len(one.response) for one in rows)
        model.train()
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        device = model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed * SEED_STRIDE + step)  # of dropout, which knows no generator of its own
            for some in self._micro_batches(rows):
                loss = self._loss(model, some) / tokens
                loss.backward()
                total += loss.item()
        optimizer.step()
        return total

    def _batch(self, step: int) -> list[Example]:
        """The rows of a step: each epoch goes through all of them in an order of its own, the same for every rate."""
        train, size = self.examples.train, self.hparams.batch
        epoch, place = divmod(step, math.ceil(len(train) / size))
        generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + epoch)
        order = torch.randperm(len(train), generator=generator).tolist()
        return [train[i] for i in order[place * size : (place + 1) * size]]

    def _micro_batches(self, examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
        """Rows of like length together, so that little is padding."""
        rows = sorted(examples, key=lambda one: len(one.response))
        return (rows[i : i + self.hparams.micro_batch] for i in range(0, len(rows), self.hparams.micro_batch))

    def _loss(self, model: LanguageModel, examples: Sequence[Example]) -> Tensor:
        """() float; the negative log-likelihood of all response tokens, nats."""
        queries, query_mask, responses, mask = padded(examples, model.device)
        with autocast(model.device, self.bf16):
            hidden = response_hidden(model, queries, query_mask, responses)
            logprobs = model.logprobs(hidden, responses, 1.0)
        return -logprobs.masked_fill(~mask, 0.0).sum()
