"""A PPO trainer where a plan goes on: from a training state, from a published policy or from the reference."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from torch import device

from workers import sharding, training_state
from workers.checkpoints import CheckpointStore
from workers.nets.compiling import compile_all
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.reward_ensemble import Reward
from workers.nets.value_head import ValueNetwork
from workers.nets.value_init import start_from_reward_model
from workers.plans import PPOPlan
from workers.ppo_trainer import PPOTrainer, Progress
from workers.published import load_policy
from workers.ranks import Ranks
from workers.references import Reference

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOStart:
    """Where a trainer is built."""

    reference: Reference
    store: CheckpointStore
    device: device
    bf16: bool
    ranks: Ranks
    compiled: bool
    reward_model: Callable[[], Reward]
    """The plan's."""

    def trainer(self, plan: PPOPlan) -> PPOTrainer:
        """Ready for the plan's next update. Raises: LostStateError if its training state is gone or broken."""
        ppo, reference = plan.hparams.ppo, self.reference
        policy = self._policy(ppo.frozen_layers, plan.policy_digest)
        critic = ValueNetwork(self._copy()) if ppo.value_network == "separate" else None
        if plan.state_digest is None and plan.policy_digest is None and ppo.value_init == "reward_model":
            start_from_reward_model(critic or policy, self.reward_model())
        self._shard(policy, critic)
        trainer = PPOTrainer(
            policy,
            reference.policy,
            task=plan.hparams.task,
            ppo=ppo,
            terminators=reference.terminators(plan.hparams.task),
            seed=plan.hparams.seed,
            progress=Progress(
                update=plan.update if plan.policy_digest else 0,
                kl_coef=ppo.kl_coef if plan.kl_coef is None else plan.kl_coef,
            ),
            bf16=self.bf16,
            value_network=critic,
            ranks=self.ranks,
        )
        if self.compiled:
            compile_all(reference.policy, *trainer.models.modules())
        if plan.state_digest is not None:
            training_state.restore(trainer, self.store, plan.state_digest)
        return trainer

    def _shard(self, policy: Policy, critic: ValueNetwork | None) -> None:
        """Split what is trained over the processes, where a GPU has no room for a copy beside reference and scorer."""
        networks: list[Policy | ValueNetwork] = [policy] if critic is None else [policy, critic]
        counts = [(one.numel(), one.requires_grad) for network in networks for one in network.parameters()]
        others = 2 * sum(one.numel() for one in self.reference.policy.parameters())
        if self.ranks.size > 1 and sharding.wanted(
            self.ranks.sharding,
            trained=sum(n for n, trained in counts if trained),
            read=sum(n for n, trained in counts if not trained) + others,
            memory=sharding.memory_of(self.device),
        ):
            log.info("model_sharded", processes=self.ranks.size)
            for network in networks:
                blocks, methods = network.language_model.blocks, ("generate", "response_hidden")
                network.language_model.splits_last = False  # a block is gathered for a whole call
                sharding.shard(
                    network,
                    blocks,
                    size=self.ranks.size,
                    device=self.device,
                    methods=methods if network is policy else (),
                )

    def _policy(self, frozen: float, digest: str | None) -> Policy:
        """The reference once more, or a published policy with its value head."""
        model = self._copy()
        fresh = Policy(model, frozen_layers=int(frozen * model.num_layers))
        if digest is not None:
            published = load_policy(self.store, digest, self.reference.folder, device=self.device)
            fresh.load_state_dict(published.state_dict())
        return fresh

    def _copy(self) -> LanguageModel:
        return LanguageModel.load(self.reference.folder, device=self.device)
