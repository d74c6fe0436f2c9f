"""PPO step by step from a script, toward any reward: open a model, sample, score, update, save.

steps = Steps.open("gpt2", changes={"ppo": {"batch": 32, "episodes": 3200}})
for prompts in steps.batches(texts):
    samples = steps.sample(prompts)
    steps.update(samples, [len(text) for text in samples.texts])
steps.save("tuned")
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from app.hparams import RunHParams, planned
from app.rules import Score
from workers.models import AUTO, ensure_base_model
from workers.nets import precision
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.value_head import ValueNetwork
from workers.ppo_trainer import PPOTrainer, Progress
from workers.query_order import order_seed, query_order
from workers.references import Reference
from workers.rlhf.types import Sampled

HOME = Path("~/.prefloop")
PRESET = "sentiment-small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One sample for each prompt of a batch."""

    prompts: Sequence[str]
    texts: list[str]
    """Up to and with the terminator; whole where none came in time."""
    sampled: Sampled
    """The same as tensors; `sampled.valid` tells which ended in time. The others get the task's penalty as score."""

    def scores(self, score: Score) -> list[float]:
        """What a function from prompt and text to a number says of each."""
        return [float(score(prompt, text)) for prompt, text in zip(self.prompts, self.texts, strict=True)]


class Steps:
    """One policy in training, its reference and tokenizer."""

    def __init__(self, reference: Reference, hparams: RunHParams, *, bf16: bool = False) -> None:
        """Begin at `reference`, which stays as it is.

        Raises: ValueError if the values should start from a reward model: there is none.
        """
        ppo, task = hparams.ppo, hparams.task
        if ppo.value_init == "reward_model":
            raise ValueError('there is no reward model to start from: set ppo.value_init to "zero"')
        self.reference = reference
        self.hparams = hparams
        model = self._fresh()
        self.trainer = PPOTrainer(
            Policy(model, frozen_layers=int(ppo.frozen_layers * model.num_layers)),
            reference.policy,
            task=task,
            ppo=ppo,
            terminators=reference.terminators(task),
            seed=hparams.seed,
            progress=Progress(update=0, kl_coef=ppo.kl_coef),
            bf16=bf16,
            value_network=ValueNetwork(self._fresh()) if ppo.value_network == "separate" else None,
        )

    @classmethod
    def open(
        cls, model: str = AUTO, *, preset: str = PRESET, changes: Mapping[str, Any] | None = None, home: Path = HOME
    ) -> Self:
        """Open a base model on the fastest device, fetched or built first where it is missing.

        Args:
            model: hub id, folder, `smollm2-135m` or `auto`.
            preset: hyperparameters to start from.
            changes: of them, nested like their fields: `{"ppo": {"batch": 64}, "seed": 3}`.
            home: models are kept under `home/models`.
        Raises: ModelUnavailableError; InvalidError naming each hyperparameter that is wrong; ValueError for a folder
            that holds no model which is supported.
        """
        hparams = planned(preset, changes)
        path = Path(model).expanduser()
        folder = ensure_base_model(str(path.absolute()) if path.is_dir() else model, home.expanduser())
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        bf16 = precision.configure(device).bf16
        return cls(Reference.load(folder, device=device), hparams, bf16=bf16)

    def batches(self, prompts: Sequence[str]) -> Iterator[list[str]]:
        """The prompts of each update still to come, every prompt once before any comes again."""
        batch = self.hparams.ppo.batch
        while (update := self.trainer.progress.update) < self.hparams.ppo.updates:
            order = query_order(len(prompts), start=update * batch, count=batch, seed=order_seed(self.hparams))
            yield [prompts[i] for i in order]
            if self.trainer.progress.update == update:
                raise ValueError("call `update` with each batch before the next one: it moves the order of prompts on")

    def sample(self, prompts: Sequence[str]) -> Samples:
        """Continue each prompt once with the policy as it is now.

        A warning is logged where most of the first 64 samples do not end in time.
        """
        task = self.hparams.task
        sampled = self.trainer.sample(self.reference.queries(prompts, task, "formatted"))
        self.reference.watch.see(sampled.valid.tolist(), task)
        kept = zip(sampled.tokens.tolist(), sampled.lengths.tolist(), strict=True)
        decode = self.reference.tokenizer.decode
        texts = [decode(ids[:n], skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids, n in kept]
        return Samples(prompts=tuple(prompts), texts=texts, sampled=sampled)

    def update(self, samples: Samples, scores: Sequence[float]) -> dict[str, float]:
        """Train on samples and their scores; statistics by metric name.

        Args:
            scores: one per sample, about 1 apart from one another: the KL coefficient was chosen for that scale.
        Raises: ValueError if there are more or fewer scores than samples; GuardError when the update leaves its bounds.
        """
        if len(scores) != len(samples.texts):
            raise ValueError(f"{len(scores)} scores for {len(samples.texts)} samples: give one for each")
        device = samples.sampled.tokens.device
        given = torch.tensor(list(scores), dtype=torch.float32, device=device)
        return self.trainer.step(self.trainer.rollout(samples.sampled, given))

    def save(self, folder: Path | str) -> None:
        """Write the policy and its tokenizer as transformers reads them; what lies there is overwritten."""
        self.trainer.policy.language_model.model.save_pretrained(folder)
        self.reference.tokenizer.save_pretrained(folder)

    def _fresh(self) -> LanguageModel:
        return LanguageModel.load(self.reference.folder, device=self.reference.policy.language_model.device)
