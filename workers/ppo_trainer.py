"""PPO on one policy: an update is sample, rollout, step.

The trainer holds models and optimizer between updates and knows neither database nor clock. Everything random in an
update follows from the run's seed and the update's number, so that a resumed run repeats what an unbroken one does.
Source: Ziegler et al. 2019, section 2.2; lm-human-preferences train_policy.py.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.hparams import PPOHParams, TaskHParams
from workers.actor_critic import ActorCritic
from workers.nets.policy import Policy
from workers.nets.reward_ensemble import Reward
from workers.nets.tokenizer import PAD_ID
from workers.nets.value_head import ValueNetwork
from workers.ppo_guards import Guards
from workers.ppo_learner import Learner
from workers.ppo_objective import Objective
from workers.ppo_stats import rollout_stats
from workers.ranks import ALONE, Ranks
from workers.reference_pass import ReferencePass
from workers.rlhf.guards import require_finite
from workers.rlhf.kl import adaptive_kl_coef, damped_kl_coef
from workers.rlhf.masks import Truncation, response_mask, truncate
from workers.rlhf.rewards import score_penalty
from workers.rlhf.schedule import SEED_STRIDE
from workers.rlhf.types import QueryBatch, Rollout, Sampled, TrunkStates
from workers.sharding import is_sharded
from workers.shared_trunk import shared_layers


class Scorer(Protocol):
    """A reward model as PPO sees it."""

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        """(b, q) ids and mask, (b, r) truncated ids and mask -> (b,) float scores."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a training state holds beside weights and optimizer."""

    update: int
    """Updates done; the next one has this number."""
    kl_coef: float
    """The controller's, before it is damped."""
    kl: float | None = None
    """Nats per response, of the last update; None: there was none, or PPO began anew from a policy."""


class PPOTrainer:
    """One policy being trained against one reference."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        *,
        task: TaskHParams,
        ppo: PPOHParams,
        terminators: Tensor,
        seed: int,
        progress: Progress,
        bf16: bool,
        value_network: ValueNetwork | None = None,
        objective: Objective | None = None,
        share_trunk: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        """`policy` and `value_network` are changed in place; `reference` never.

        Args:
            terminators: (t,) int64 token ids that end a response; not used where the task has no end.
            bf16: matrix products in bfloat16; weights, logits, losses and optimizer stay in float32.
            value_network: wanted where `ppo.value_network` is `separate`, and only there.
            objective: what is minimised; None is the published one.
            share_trunk: compute the policy's frozen layers once per rollout, for the reference too; False changes the
                time that an update takes and nothing else.
            ranks: processes that train together; all are given the same and call the same.
        Raises: ValueError if the value network is missing or too much, or the episodes of a minibatch cannot be shared
            evenly by the processes.
        """
        ranks.rows(ppo.minibatch)
        if (value_network is None) == (ppo.value_network == "separate"):
            raise ValueError(
                f"ppo.value_network is {ppo.value_network}: give a value network exactly if it is separate"
            )
        self.policy = policy
        self.reference = reference
        self.task = task
        self.ppo = ppo
        self.terminators = terminators
        self.seed = seed
        self.progress = progress
        self.models = ActorCritic(
            policy=policy,
            value_network=value_network,
            temperature=task.temperature,
            micro_batch=ppo.micro_batch,
            bf16=bf16,
            shared_layers=shared_layers(policy) if share_trunk and not is_sharded(policy) else 0,
        )
        self._reference_pass = ReferencePass(reference, self.models)
        self.ranks = ranks
        self.guards = Guards(ppo.guards, reference, ranks)
        self.objective = objective or Objective(ppo)
        self.learner = Learner(self.models, self.objective, self.guards, ppo=ppo, seed=seed, ranks=ranks)

    def update(self, queries: QueryBatch, scorer: Scorer) -> dict[str, float]:
        """One PPO update on a batch of queries. Returns its statistics by metric name.

        Raises: GuardError when it leaves its bounds; the trainer must then be dropped.
        """
        sampled = self.sample(queries, scorer)
        scores = self.scores(sampled, scorer) if sampled.scores is None else sampled.scores
        return self.step(self.rollout(sampled, scores))

    def sample(self, queries: QueryBatch, scorer: Scorer | None = None) -> Sampled:
        """Answer each query once with the current policy; the same answers until `step` has been called.

        Args:
            scorer: if all that it reads comes up on the way, the samples bring its scores with them.
        """
        generator = torch.Generator(device=queries.ids.device)
        generator.manual_seed(self.seed * SEED_STRIDE + self.progress.update)
        rows, whole = self.ranks.rows(queries.batch_size), self.ranks.whole
        mine = queries.rows(rows)
        reader = self._reference_pass.reader(scorer, queries)
        layers = () if reader is None else reader.layers
        written, values = self.models.write(
            mine,
            response_tokens=self.task.response_tokens,
            generator=generator,
            keep_layers=self._reference_pass.kept(layers),
            keep_last=bool(layers) and self._reference_pass.shares,
            within=(rows.start, queries.batch_size),
        )
        below = {one.layer: one for one in written.kept}
        heard = self._reference_pass.read(mine, written.tokens, below, layers)
        responses = whole(written.tokens)
        kept = self._truncated(responses)
        trunk = below.get(self.models.shared_layers)
        return Sampled(
            queries=queries,
            responses=responses,
            logprobs=whole(written.logprobs),
            ref_logprobs=whole(heard.logprobs),
            values=whole(values),
            tokens=kept.tokens,
            lengths=kept.lengths,
            valid=kept.valid,
            trunk=None if trunk is None else self._all(trunk.first(queries.ids.shape[1] + responses.shape[1] - 1)),
            scores=None if reader is None else whole(self._scored(reader, heard.states, mine, kept.lengths[rows])),
        )

    def scores(self, sampled: Sampled, scorer: Scorer) -> Tensor:
        """(b,) float; what a scorer says of truncated samples. It reads the raw queries."""
        rows = self.ranks.rows(sampled.queries.batch_size)
        queries, tokens = sampled.queries.rows(rows), sampled.tokens[rows]
        mask = response_mask(sampled.lengths[rows], tokens.shape[1])
        with torch.no_grad(), self.models.autocast():
            return self.ranks.whole(scorer(queries.raw_ids, queries.raw_mask, tokens, mask))

    def rollout(self, sampled: Sampled, scores: Tensor) -> Rollout:
        """Put scores to samples; invalid ones get the task's penalty in their place.

        Args:
            scores: (b,) float; of `sampled.tokens`.
        Raises: GuardError if one of them is not finite.
        """
        advice = "the scorer gave a number that is none; look at the reward model"
        require_finite("sum of the scores", scores.float().sum().item(), advice)
        return Rollout(
            queries=sampled.queries.ids,
            query_mask=sampled.queries.mask,
            responses=sampled.responses,
            logprobs=sampled.logprobs,
            ref_logprobs=sampled.ref_logprobs,
            values=sampled.values,
            scores=score_penalty(scores.float(), sampled.valid, self.task.invalid_score),
            valid=sampled.valid,
            lengths=sampled.lengths,
            trunk=sampled.trunk,
        )

    def step(self, rollout: Rollout) -> dict[str, float]:
        """Train on a rollout and move the KL coefficient; returns the update's statistics by metric name.

        Raises: GuardError when the update leaves its bounds; the trainer must then be dropped.
        """
        update, coef = self.progress.update, self._kl_coef()
        mask = self.objective.mask(rollout)
        self.guards.check_rollout(rollout, mask)
        self.guards.check_trunk(self.models, rollout)
        self.guards.check_signs(self.models, self.objective, rollout, update)
        learned = self.learner.learn(rollout, update=update, kl_coef=coef)
        rewards = self.objective.rewards(learned.rollout, kl_coef=coef)
        targets = self.objective.targets(learned.rollout, kl_coef=coef)
        stats = rollout_stats(learned.rollout, rewards, targets, mask, coef) | learned.stats
        for name, value in stats.items():
            require_finite(name, value, "training has diverged; lower ppo.learning_rate")
        self._advance(stats["objective/kl"])
        return stats

    def _all(self, trunk: TrunkStates) -> TrunkStates:
        return TrunkStates(layer=trunk.layer, states=self.ranks.whole(trunk.states))

    def _scored(self, reader: Reward, states: dict[int, Tensor], queries: QueryBatch, lengths: Tensor) -> Tensor:
        """(b,) float; of truncated responses."""
        mask = torch.cat([queries.mask, response_mask(lengths, self.task.response_tokens)], dim=1)
        with torch.no_grad(), self.models.autocast():
            scores: Tensor = reader.score_states(states, mask)
        return scores

    def _truncated(self, responses: Tensor) -> Truncation:
        if not self.task.ends:
            lengths = torch.full_like(responses[:, 0], responses.shape[1])
            return Truncation(responses, torch.ones_like(lengths, dtype=torch.bool), lengths)
        return truncate(
            responses, terminators=self.terminators, min_index=self.task.min_terminator_index, pad_id=PAD_ID
        )

    def _kl_coef(self) -> float:
        """What the penalty of the next update counts with."""
        coef, kl = self.progress.kl_coef, self.progress.kl
        if self.ppo.kl_target is None:
            return coef
        return damped_kl_coef(coef, kl, target=self.ppo.kl_target, damping=self.ppo.kl_damping)

    def _advance(self, observed_kl: float) -> None:
        coef = self.progress.kl_coef
        if self.ppo.kl_target is not None:
            adapted = adaptive_kl_coef(
                coef,
                observed_kl,
                target=self.ppo.kl_target,
                horizon=self.ppo.kl_horizon,
                episodes=self.ppo.batch,
            )
            coef = max(adapted, self.ppo.kl_coef_least)
        self.progress = Progress(update=self.progress.update + 1, kl_coef=coef, kl=observed_kl)
