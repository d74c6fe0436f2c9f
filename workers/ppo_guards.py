"""Bounds on every PPO update. A broken one raises GuardError: the update is dropped and the last state stays."""

import structlog
from torch import Tensor, nn

from app.hparams import GuardHParams
from workers.actor_critic import ActorCritic
from workers.ppo_objective import Objective
from workers.ranks import ALONE, Ranks
from workers.rlhf.advantages import masked_mean
from workers.rlhf.guards import (
    Deviation,
    GuardError,
    checksum,
    deviation,
    require_at_least,
    require_at_most,
    require_finite,
)
from workers.rlhf.intervals import wilson
from workers.rlhf.types import Rollout
from workers.shared_trunk import check_trunk
from workers.sign_check import Probe, choose_probe, measure_signs, require_signs

log = structlog.get_logger()


class Guards:
    """Watches one trainer."""

    def __init__(self, hparams: GuardHParams, reference: nn.Module, ranks: Ranks = ALONE) -> None:
        self.hparams = hparams
        self._ranks = ranks
        self.probe: Probe | None = None
        """Chosen from the first rollout whose scores differ; a training state keeps it."""
        self._reference = reference
        self._checksum = checksum(reference.parameters())
        self._signs_checked_at: int | None = None

    def check_rollout(self, rollout: Rollout, mask: Tensor | None) -> None:
        """Samples end, the policy still has a choice, and the reference is what it was."""
        require_at_most(
            "lower end of the 95 % interval of the share of samples that do not end in time",
            wilson(int((~rollout.valid).sum()), rollout.batch_size).low,
            self.hparams.invalid_fraction,
            "raise task.response_tokens, lower task.min_terminator_index or choose another terminator",
        )
        require_at_least(
            "entropy in nats per token",
            -masked_mean(rollout.logprobs, mask).item(),
            self.hparams.entropy_floor,
            "the policy says one thing only; raise ppo.kl_coef or lower ppo.learning_rate",
        )
        if checksum(self._reference.parameters()) != self._checksum:
            advice = "something in memory trains or overwrites it; restart the trainer, which loads it anew"
            raise GuardError("the reference", "has changed", advice)

    def check_signs(self, models: ActorCritic, objective: Objective, rollout: Rollout, update: int) -> None:
        """Before this trainer's first update and every `sign_check` updates, once scores differ."""
        every, last = self.hparams.sign_check, self._signs_checked_at
        self.probe = self.probe or choose_probe(rollout)
        if self.probe is None or every is None or (last is not None and update - last < every):
            return
        signs = measure_signs(models, objective, self.probe, self._ranks)
        log.info("signs_checked", update=update, score=round(signs.score, 3), kl=round(signs.kl, 3))
        require_signs(signs)
        self._signs_checked_at = update

    def check_trunk(self, models: ActorCritic, rollout: Rollout) -> None:
        """What sampling kept of the frozen layers is what they make of the texts."""
        check_trunk(models, rollout, self.hparams.ratio_tail_bf16 if models.bf16 else self.hparams.ratio_error)

    def agrees(self, errors: Tensor, *, bf16: bool) -> bool:
        """Whether sampling's log-probabilities are those of the training forward, before any step.

        Args:
            errors: (n,) float; |ratio - 1| of the first pass.
        Returns: False in bfloat16 beyond its bounds: recompute them.
        Raises: GuardError in float32, where nothing but a mistake makes them differ.
        """
        found = deviation(errors)
        if bf16:
            return self._agrees_in_bf16(found)
        advice = "sampling and training see different masks, positions or temperatures; compare their log-probabilities"
        require_at_most("largest |ratio - 1| of the first pass", found.worst, self.hparams.ratio_error, advice)
        return True

    def check_start(self, kl: Tensor, *, bf16: bool) -> None:
        """The first update of a run starts at the reference.

        Args:
            kl: (b,) float, log-ratio in nats per response, policy and reference by the same forward pass. Its sign is
                dropped: between strangers the responses' numbers may cancel.
        """
        advice = "policy and reference are not the same model at the start; load both from the same folder"
        bound = self.hparams.start_kl_bf16 if bf16 else self.hparams.start_kl
        require_at_most("mean |KL| of the very first update", kl.abs().mean().item(), bound, advice)

    def check_step(self, loss: float, gradient_norm: float) -> None:
        """Asked before an optimizer step, so that no weight becomes NaN."""
        advice = "lower ppo.learning_rate, or look for scores that are far too large"
        require_finite("loss", loss, advice)
        require_finite("norm of the gradient", gradient_norm, advice)

    def _agrees_in_bf16(self, found: Deviation) -> bool:
        agrees = found.mean <= self.hparams.ratio_mean_bf16 and found.tail <= self.hparams.ratio_tail_bf16
        if not agrees:
            log.warning("logprobs_recomputed", ratio_mean=found.mean, ratio_tail=found.tail)
        return agrees
