"""Does the objective push the right way? Its gradient is compared with one that is computed without it.

The authors of 2019 once trained overnight on a flipped sign. Two questions are asked of the policy's weights: does a
step raise what scores high relative to what scores low, and does the KL penalty alone pull toward the reference?

Each is answered by a contrast, so that all that does not depend on the question cancels: the loss for the probe's
scores less the loss for the same scores mirrored about their mean; the loss for a reference from which the policy has
come away by 0 to 1 nats per token, more from row to row, less the loss for the rows in reverse. The drift is made up
because at the first update there is none: policy and reference are the same, and the KL term is silent. Values are
taken as zero, so that a bad value head cannot turn the answer. The contrast's gradient then points along that of
REINFORCE but for whitening, and against it if a sign is lost; the cosine between them is near 1 or near -1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.hparams import PPOHParams
from workers.actor_critic import ActorCritic
from workers.ppo_objective import Objective
from workers.ranks import ALONE, Ranks
from workers.rlhf.directions import toward_high_scores, toward_reference
from workers.rlhf.guards import cosine, require_at_least
from workers.rlhf.types import Rollout
from workers.sharding import own_part

PROBE_EPISODES = 16
"""Four forward and four backward passes over these are the cost of one check."""
MARGIN = 0.2
"""Smallest cosine that counts as the same way."""
SPREAD_FLOOR = 1e-3
"""Relative to the largest score; scores closer together than this ask for no direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Episodes of one rollout, half of the highest score and half of the lowest; kept for the whole run."""

    queries: Tensor
    """(n, q) int64."""
    query_mask: Tensor
    """(n, q) bool."""
    responses: Tensor
    """(n, r) int64."""
    lengths: Tensor
    """(n,) int64."""
    scores: Tensor
    """(n,) float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """Cosines of the implemented with the expected gradient, in [-1, 1]."""

    score: float
    kl: float


def choose_probe(rollout: Rollout) -> Probe | None:
    """A probe from this rollout; None while all scores are alike."""
    order = rollout.scores.argsort(stable=True)
    spread = rollout.scores[order[-1]] - rollout.scores[order[0]]
    if not spread > SPREAD_FLOOR * rollout.scores.abs().max():
        return None
    half = min(PROBE_EPISODES, rollout.batch_size) // 2
    chosen = rollout.select(torch.cat([order[:half], order[-half:]]))
    return Probe(
        queries=chosen.queries,
        query_mask=chosen.query_mask,
        responses=chosen.responses,
        lengths=chosen.lengths,
        scores=chosen.scores,
    )


def require_signs(signs: Signs) -> None:
    """Raises: GuardError when a gradient points the wrong way, or nowhere."""
    advice = "a sign in rewards, advantages or losses is wrong; nothing was trained. Undo the change that did it"
    require_at_least("cosine of the score's gradient with its expected direction", signs.score, MARGIN, advice)
    require_at_least("cosine of the KL penalty's gradient with the way to the reference", signs.kl, MARGIN, advice)


def measure_signs(models: ActorCritic, objective: Objective, probe: Probe, ranks: Ranks = ALONE) -> Signs:
    """Compare the gradients on the probe. Changes no weight and draws no random number.

    One question after the other, so that two gradients are held and never four.
    """
    ramp = torch.linspace(0, 1, len(probe.scores), device=probe.scores.device)

    def same_way(question: int) -> float:
        implemented = _gradient(models, lambda: _implemented(models, objective, probe, ramp)[question])
        expected = _gradient(models, lambda: _expected(models, objective.ppo, probe, ramp)[question])
        return -cosine(implemented, expected, ranks.summed if models.sharded else list)  # losses are stepped down

    return Signs(score=same_way(0), kl=same_way(1))


Gradient = tuple[Tensor, ...]


def _implemented(models: ActorCritic, objective: Objective, probe: Probe, ramp: Tensor) -> tuple[Tensor, Tensor]:
    """The contrasts for score and KL, through the code that trains."""
    logprobs = models.forward(probe.queries, probe.query_mask, probe.responses).logprobs
    at_start = _as_rollout(probe, logprobs.detach())
    drift = ramp.unsqueeze(1).expand_as(logprobs)
    flat = replace(at_start, scores=torch.zeros_like(probe.scores))

    def loss(batch: Rollout) -> Tensor:
        targets = objective.targets(batch, kl_coef=1.0)
        return objective.losses(logprobs, batch.values, batch, targets, objective.mask(batch)).total

    mirrored = replace(at_start, scores=2 * probe.scores.mean() - probe.scores)
    score = loss(at_start) - loss(mirrored)
    kl = loss(replace(flat, ref_logprobs=flat.logprobs - drift)) - loss(
        replace(flat, ref_logprobs=flat.logprobs - drift.flip(0))
    )
    return score, kl


def _expected(models: ActorCritic, ppo: PPOHParams, probe: Probe, ramp: Tensor) -> tuple[Tensor, Tensor]:
    """What rises in the directions in which log-probabilities should go, by PyTorch's own log-softmax."""
    r, decay = probe.responses.shape[1], ppo.gamma * ppo.lam
    ends = [r - 1] * len(probe.lengths) if ppo.mode == "reference" else (probe.lengths - 1).tolist()
    with models.autocast():
        hidden = models.policy.response_hidden(probe.queries, probe.query_mask, probe.responses)
        logits = models.policy.language_model.logits(hidden)
    logprobs = (logits.float() / models.temperature).log_softmax(dim=-1)
    said = logprobs.gather(-1, probe.responses.unsqueeze(-1)).squeeze(-1)
    up = toward_high_scores(probe.scores.tolist(), ends, r, decay=decay).to(said.device)
    back = toward_reference(ramp.tolist(), ends, r, decay=decay, estimator=ppo.kl_estimator).to(said.device)
    return (up * said).sum(), (back * said).sum()


def _gradient(models: ActorCritic, loss: Callable[[], Tensor]) -> Gradient:
    """In all that is trained of the policy; the value head takes no part, its gradient is zero."""
    if models.sharded:
        return _own_gradient(models, loss)
    parameters = [parameter for parameter in models.policy.parameters() if parameter.requires_grad]
    return torch.autograd.grad(loss(), parameters, materialize_grads=True)


def _own_gradient(models: ActorCritic, loss: Callable[[], Tensor]) -> Gradient:
    """What this process has of a gradient of a model that is split: only `backward` brings it together."""
    loss().backward()
    parameters = [parameter for parameter in models.policy.parameters() if parameter.requires_grad]
    found = tuple(
        own_part(torch.zeros_like(one) if one.grad is None else one.grad).detach().clone() for one in parameters
    )
    for parameter in parameters:
        parameter.grad = None
    return found


def _as_rollout(probe: Probe, logprobs: Tensor) -> Rollout:
    return Rollout(
        queries=probe.queries,
        query_mask=probe.query_mask,
        responses=probe.responses,
        logprobs=logprobs,
        ref_logprobs=logprobs,
        values=torch.zeros_like(logprobs),
        scores=probe.scores,
        valid=torch.ones_like(probe.lengths, dtype=torch.bool),
        lengths=probe.lengths,
    )
