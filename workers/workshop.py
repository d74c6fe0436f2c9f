"""What stays in a trainer's memory between jobs: base models, the policies in use, the reward model, PPO's state.

Everything is known by its digest and loaded again only when the digest asked for differs. Nothing here knows a table:
plans say which files they need.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from app.errors import ConflictError
from app.hparams import RewardHead, TaskHParams
from workers import leaving_out, probes, reward_trainer, training_state
from workers.best_of_n import BestOfN, RawScorer
from workers.frozen_reads import FrozenReads
from workers.models import ModelUnavailableError, ensure_base_model, weights_digest
from workers.nets import precision
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.reward_ensemble import Reward
from workers.nets.tokenizer import load_tokenizer, token_ids
from workers.plans import (
    AheadPlan,
    Judgement,
    LeaveOutPlan,
    PolicyFiles,
    PPOPlan,
    ProbePlan,
    RewardFiles,
    RewardPlan,
    SamplePlan,
)
from workers.ppo_start import PPOStart
from workers.ppo_trainer import PPOTrainer, Scorer
from workers.published import load_policy, publish
from workers.ranks import ALONE, Ranks
from workers.references import Reference
from workers.reward_features import FeatureCache
from workers.reward_labels import EncodedSample, RewardData
from workers.reward_members import Trunk
from workers.reward_tuning import judge_samples
from workers.sampler import SampledPrompt, SampleDraw, Sampler, joined, sample_comparisons, sample_once
from workers.shared_store import open_store
from workers.task_checks import require_fit
from workers.token_kl import Reading, read

STATE_KIND, REWARD_KIND = "training_state", "reward_model"
AHEAD_AT_ONCE = 128
"""Samples read between two looks at whether to stop."""


class Workshop:
    """Models and checkpoints of one trainer process."""

    def __init__(
        self,
        home: Path,
        *,
        threads: int = 0,
        models: Path | None = None,
        store: str | None = None,
        ranks: Ranks = ALONE,
        compiled: bool = False,
    ) -> None:
        """Keep checkpoints and features in `home`, base models in `models` or, without it, there too.

        Args:
            store: URL of the place of checkpoints that several machines share.
            ranks: processes that train together, each with a workshop; the first of them saves.
            compiled: compile what PPO runs.
        """
        self.home = home
        self._home = models or home
        self.ranks = ranks
        self.compiled = compiled
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = precision.configure(self.device, threads)
        self.store = open_store(home / "checkpoints", store)
        self._references: dict[str, Reference] = {}
        self._policy: tuple[str, Policy] | None = None
        self._trainer: tuple[str, PPOTrainer] | None = None
        self._reward: tuple[str, Reward] | None = None
        self._normalizing: tuple[object, list[EncodedSample]] | None = None
        self._features = FeatureCache(home / "features")

    def prepare(self, base_model: str, task: TaskHParams) -> str:
        """Fetch or build the base model where it is missing, and see that the task can be done with it.

        Returns: sha256 of its weights.
        Raises: ModelUnavailableError; InvalidError naming the setting of the task that does not fit.
        """
        reference = self._references[base_model] = self._load_reference(base_model)
        require_fit(reference, task)
        return reference.digest

    def reference(self, files: PolicyFiles) -> Reference:
        """The base model of a policy. Raises: ConflictError if its weights are not those the run began with."""
        held = self._references.get(files.base_model)
        if held is None:
            held = self._references[files.base_model] = self._load_reference(files.base_model)
        if held.digest != files.reference_digest:
            raise ConflictError(
                f"The base model in {held.folder} is not the one this run began with: put the old files back, "
                "or create a new run."
            )
        return held

    def write_comparisons(self, plan: SamplePlan) -> list[SampledPrompt]:
        """The valid samples of a comparison of each prompt of the plan, where they can be had.

        Of a validation comparison the policy writes the first half (and the odd one), `plan.against` the second.
        """
        k, everything = plan.task.samples_per_comparison, range(len(plan.prompts))
        if plan.against is None:
            return self._written(plan, everything, k)
        mixed = sorted(plan.validating)
        whole = self._written(plan, [i for i in everything if i not in plan.validating], k)
        ours = self._written(replace(plan, seed=plan.seed + 1), mixed, k - k // 2)
        theirs = self._written(replace(plan, seed=plan.seed + 2, policy=plan.against), mixed, k // 2)
        return sorted([*whole, *joined(ours, theirs)], key=lambda one: one.prompt)

    def write_best(self, plan: SamplePlan, *, count: int, best_of: int) -> list[SampledPrompt]:
        """`count` valid samples of each prompt of the plan, each the best of `best_of` by the plan's reward model."""
        sampler, queries, mask = self._sampling(plan)
        if best_of > 1:
            assert plan.reward is not None, "asked for where there is a reward model"
            best = BestOfN(
                writer=sampler.writer,
                scorer=self._scorer(plan, plan.reward),
                n=best_of,
                task=plan.task,
                terminators=sampler.terminators,
            )
            sampler = replace(sampler, writer=best)
        with self.autocast():
            return sample_comparisons(sampler, queries, mask, seed=plan.seed, per_prompt=count)

    def read_texts(self, plan: SamplePlan, texts: Sequence[str]) -> list[SampledPrompt]:
        """Texts that people wrote, one for each prompt of the plan, as if they were samples; none for empty ones."""
        tokenizer = self.reference(plan.policy).tokenizer
        found = []
        for row, text in enumerate(texts):
            ids = token_ids(tokenizer, text) if text.strip() else []
            if ids:
                draw = SampleDraw(tokens=ids, logprobs=[], kept_tokens=len(ids), valid=True, text=text)
                found.append(SampledPrompt(prompt=row, draws=[draw], rejected=0))
        return found

    def write_once(self, plan: SamplePlan, *, count: int = 1) -> list[list[SampleDraw]]:
        """`count` samples of each prompt of the plan, valid or not."""
        sampler, queries, mask = self._sampling(plan)
        with self.autocast():
            return sample_once(sampler, queries, mask, seed=plan.seed, count=count)

    def fit_reward(self, plan: RewardPlan) -> tuple[str, dict[str, Any]]:
        """Fit and write a reward model; its digest and the trainer's report."""
        reference = self.reference(plan.reference)
        fitted = reward_trainer.fit(
            self._reward_data(plan, reference),
            self._trunk(reference),
            hparams=plan.hparams.reward,
            seed=plan.seed,
            cache=self._features,
            bf16=self.precision.bf16,
            ranks=self.ranks,
        )
        meta = fitted.meta | {"query": plan.hparams.reward.query}
        digest = self.ranks.agreed(lambda: self.store.save(REWARD_KIND, {"model": fitted.tensors}, meta))
        self._reward = (digest, fitted.model)
        return digest, fitted.report

    def read_ahead(self, plan: AheadPlan, stopping: Callable[[], bool] = lambda: False) -> None:
        """Compute what `fit_reward` will ask for; `stopping` is asked now and then whether to leave it at that."""
        hparams, reference = plan.hparams, self.reference(plan.reference)
        pairs = [(one.prompt, one.token_ids) for one in plan.samples]
        samples = reference.samples(pairs, hparams.task, hparams.reward.query) if pairs else []
        reads = self._frozen_reads(reference, hparams.reward.heads)
        for start in range(0, len(samples), AHEAD_AT_ONCE):
            if stopping():
                return
            reads.features(samples[start : start + AHEAD_AT_ONCE])
        if not stopping():
            reads.features(self._normalization(plan))

    def leave_out(self, plan: LeaveOutPlan) -> dict[str, Any]:
        """What leaving a labeler out would change; see `leaving_out.change`."""
        reference = self.reference(plan.reference)
        labels = leaving_out.LabelsWithout(
            everybody=[reference.label(one, plan.hparams) for one in plan.everybody],
            theirs=[one.label_id in plan.theirs for one in plan.everybody],
            others=[reference.label(one, plan.hparams) for one in plan.others],
            valid=[reference.label(one, plan.hparams) for one in plan.valid],
        )
        return leaving_out.change(
            labels,
            self._trunk(reference),
            hparams=plan.hparams.reward,
            seed=plan.seed,
            cache=self._features,
            bf16=self.precision.bf16,
        )

    def probe(self, plan: ProbePlan) -> list[dict[str, Any]]:
        """What a reward model makes of texts that were changed; see `probes.report`."""
        tokenizer = self.reference(plan.reference).tokenizer
        pairs = probes.pairs(plan, lambda text: token_ids(tokenizer, text), tokenizer)
        texts = [(pair.prompt, ids) for pair in pairs for ids in (pair.better, pair.worse)]
        judged = self.judge(plan.reference, plan.reward, texts, plan.task) if texts else []
        return probes.report(pairs, [one.score for one in judged])

    def reward_model(self, reference: PolicyFiles, files: RewardFiles) -> Reward:
        """The reward model of these files; it takes left-padded queries and truncated responses."""
        if self._reward is None or self._reward[0] != files.digest:
            self._reward = None
            loaded = self.store.load_checked(files.digest)
            trunk = self._trunk(self.reference(reference))
            self._reward = (files.digest, reward_trainer.restore(loaded.tensors["model"], loaded.meta, trunk))
        return self._reward[1]

    def judge(
        self, policy: PolicyFiles, files: RewardFiles, samples: Sequence[tuple[str, Sequence[int]]], task: TaskHParams
    ) -> list[Judgement]:
        """Scores of samples, each a prompt and its kept token ids; the reward model knows which query it reads."""
        reference, model = self.reference(policy), self.reward_model(policy, files)
        encoded = reference.samples(samples, task, self._reads(files))
        if model.frozen:
            found = self._frozen_reads(reference, files.heads).judge(model, encoded)
        else:
            found = judge_samples(model, encoded, bf16=self.precision.bf16)
        spread = [None] * len(encoded) if found.disagreement is None else found.disagreement.tolist()
        return [Judgement(*pair) for pair in zip(found.scores.tolist(), spread, strict=True)]

    def judge_sampled(self, plan: SamplePlan, sampled: Sequence[SampledPrompt]) -> dict[int, list[Judgement]]:
        """Scores of samples just written, by prompt; none where the plan has no reward model."""
        if plan.reward is None or not sampled:
            return {}
        flat = [
            (plan.prompts[one.prompt].text, tuple(draw.tokens[: draw.kept_tokens]))
            for one in sampled
            for draw in one.draws
        ]
        judged = iter(self.judge(plan.policy, plan.reward, flat, plan.task))
        return {one.prompt: [next(judged) for _ in one.draws] for one in sampled}

    def read(
        self, policy: PolicyFiles, samples: Sequence[tuple[str, Sequence[int]]], task: TaskHParams
    ) -> list[Reading]:
        """How likely the reference of a policy finds each token of samples, each a prompt and its kept token ids."""
        return read(self.reference(policy), samples, task, self.autocast())

    def trainer(self, plan: PPOPlan) -> PPOTrainer:
        """PPO where the plan goes on: in memory still, from the training state on disk, from a policy or the reference.

        Raises: LostStateError if that state is gone or broken.
        """
        held, self._trainer = self._trainer, None  # what is handed out may come to be half trained: saving puts it back
        if held is not None and held[0] == plan.state_digest:
            return held[1]
        del held  # its memory is needed for the one to load
        return PPOStart(
            reference=self.reference(plan.reference),
            store=self.store,
            device=self.device,
            bf16=self.precision.bf16,
            ranks=self.ranks,
            compiled=self.compiled,
            reward_model=lambda: self.reward_model(plan.reference, plan.reward),
        ).trainer(plan)

    def save_state(self, trainer: PPOTrainer) -> str:
        """Write what PPO goes on from, and keep it in memory for the next job; its digest."""
        self.ranks.require_alike(trainer.models.modules())
        files, meta = training_state.pack(trainer)
        digest = self.ranks.agreed(lambda: self.store.save(STATE_KIND, files, meta))
        self._trainer = (digest, trainer)
        return digest

    def publish(self, trainer: PPOTrainer, reference: PolicyFiles) -> str:
        """Write the policy for sampling, with the tokenizer of its reference; its digest."""
        return publish(self.store, trainer.policy, self.reference(reference).tokenizer, ranks=self.ranks)

    def delete(self, digests: Iterable[str]) -> None:
        """Remove checkpoints that nobody needs any more."""
        for digest in digests:
            self.store.delete(digest)

    def forget(self) -> None:
        """Let go of everything that a failed job may have left half-done."""
        self._policy = self._trainer = self._reward = None

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products in bfloat16 where this machine is faster at them."""
        return precision.autocast(self.device, self.precision.bf16)

    def policy(self, files: PolicyFiles) -> Policy:
        """The policy of these files, for sampling."""
        reference = self.reference(files)
        if files.digest is None:
            return reference.policy
        if self._policy is None or self._policy[0] != files.digest:
            self._policy = None
            policy = load_policy(self.store, files.digest, reference.folder, device=self.device)
            self._policy = (files.digest, policy.requires_grad_(False))
        return self._policy[1]

    def _load_reference(self, base_model: str) -> Reference:
        folder = ensure_base_model(base_model, self._home)
        try:
            model, tokenizer = LanguageModel.load(folder, device=self.device), load_tokenizer(folder)
        except ValueError as error:
            raise ModelUnavailableError(str(error)) from error
        return Reference(
            folder=folder,
            digest=weights_digest(folder),
            policy=Policy(model).requires_grad_(False),
            tokenizer=tokenizer,
        )

    def _frozen_reads(self, reference: Reference, heads: tuple[RewardHead, ...]) -> FrozenReads:
        trunk = self._trunk(reference)
        return FrozenReads(trunk=trunk, cache=self._features, heads=heads, bf16=self.precision.bf16)

    def _trunk(self, reference: Reference) -> Trunk:
        return Trunk(
            reference=reference.policy.language_model,
            digest=reference.digest,
            load=lambda: LanguageModel.load(reference.folder, device=self.device),
        )

    def _reward_data(self, plan: RewardPlan, reference: Reference) -> RewardData:
        hparams = plan.hparams
        return RewardData(
            train=[reference.label(one, hparams) for one in plan.train],
            valid=[reference.label(one, hparams) for one in plan.valid],
            normalization=self._normalization(plan),
        )

    def _normalization(self, plan: RewardPlan | AheadPlan) -> list[EncodedSample]:
        """Reference samples, neither cut nor filtered: always the same ones, so their features are computed once."""
        hparams, given = plan.hparams, plan.normalization_prompts
        prompts = [given[i % len(given)] for i in range(hparams.reward.normalization_samples)]
        files, task, seed, reads = plan.reference, hparams.task, hparams.seed, hparams.reward.query
        key = (files.reference_digest, tuple(prompts), task, seed, reads)
        if self._normalizing is None or self._normalizing[0] != key:
            reference = self.reference(files)
            queries, mask = reference.encode(prompts, task)
            sampler = self._sampler(reference, reference.policy, task)
            with self.autocast():
                written = sample_once(sampler, queries, mask, seed=seed)
            pairs = [(prompt, draws[0].tokens) for prompt, draws in zip(prompts, written, strict=True)]
            self._normalizing = (key, reference.samples(pairs, task, reads))
        return self._normalizing[1]

    def _written(self, plan: SamplePlan, rows: Sequence[int], count: int) -> list[SampledPrompt]:
        """`count` valid samples of each of these prompts by the plan's policy."""
        if not rows:
            return []
        asked = replace(plan, prompts=tuple(plan.prompts[i] for i in rows), purposes=())
        sampler, queries, mask = self._sampling(asked)
        with self.autocast():
            found = sample_comparisons(sampler, queries, mask, seed=plan.seed, per_prompt=count)
        return [replace(one, prompt=rows[one.prompt]) for one in found]

    def _scorer(self, plan: SamplePlan, files: RewardFiles) -> Scorer:
        """A reward model for samples of the plan's prompts, in the form in which the policy reads these."""
        texts, model = [prompt.text for prompt in plan.prompts], self.reward_model(plan.policy, files)
        queries = self.reference(plan.policy).queries(texts, plan.task, self._reads(files))
        return model if queries.raw_ids is queries.ids else RawScorer(scorer=model, queries=queries)

    def _reads(self, files: RewardFiles) -> Literal["formatted", "raw"]:
        reads: Literal["formatted", "raw"] = self.store.manifest(files.digest)["meta"].get("query", "formatted")
        return reads

    def _sampling(self, plan: SamplePlan) -> tuple[Sampler, Tensor, Tensor]:
        reference = self.reference(plan.policy)
        queries, mask = reference.encode([prompt.text for prompt in plan.prompts], plan.task)
        return self._sampler(reference, self.policy(plan.policy), plan.task), queries, mask

    @staticmethod
    def _sampler(reference: Reference, policy: Policy, task: TaskHParams) -> Sampler:
        return Sampler(
            writer=policy,
            decoder=reference.tokenizer,
            task=task,
            terminators=reference.terminators(task),
            watch=reference.watch,
        )
