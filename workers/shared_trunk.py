"""Whether the frozen layers of a policy are the reference's, and stay what they are."""

import structlog
import torch
from torch import Tensor, nn

from workers.actor_critic import ActorCritic
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.rlhf.guards import require_at_most
from workers.rlhf.types import Rollout

CHECKED_ROWS = 2
"""Texts of each rollout whose trunk is computed a second time."""

log = structlog.get_logger()


def shared_layers(policy: Policy) -> int:
    """How many frozen layers may be computed once per rollout; 0 where the architecture does not allow it."""
    layers = policy.frozen_layers
    if layers and not policy.language_model.splits_at(layers):
        log.warning("trunk_not_shared", layers=layers, model=policy.language_model.model.config.model_type)
        return 0
    return layers


def equal_below(one: LanguageModel, other: LanguageModel, layer: int) -> bool:
    """Whether two models make the same of a text up to a layer: all weights there are equal, bit for bit."""
    pairs = zip(_below(one, layer), _below(other, layer), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def check_trunk(models: ActorCritic, rollout: Rollout, bound: float) -> None:
    """Compute the trunk of a few texts again, from their tokens.

    What sampling kept is all that training sees of the layers below, so a wrong mask or position there would not show
    in the ratio of the first pass.

    Args:
        bound: on the distance of a token's hidden state, relative to its length.
    Raises: GuardError beyond it.
    """
    if rollout.trunk is None:
        return
    few = rollout.select(torch.arange(min(CHECKED_ROWS, rollout.batch_size)))
    ids = torch.cat([few.queries, few.responses[:, :-1]], dim=1)
    mask = torch.nn.functional.pad(few.query_mask, (0, few.responses.shape[1] - 1), value=True)
    with torch.no_grad(), models.autocast():
        (again,) = models.policy.language_model.hidden_layers(ids, mask, (rollout.trunk.layer,))
    require_at_most(
        "largest distance of a kept hidden state from its second computation",
        _distance(rollout.trunk.states[: len(ids)][mask], again[mask]),
        bound,
        "sampling and training see different masks or positions; compare their hidden states",
    )


def _distance(kept: Tensor, again: Tensor) -> float:
    kept, again = kept.float(), again.float()
    distance = (kept - again).norm(dim=-1) / again.norm(dim=-1)
    return float(distance.max())


def _below(model: LanguageModel, layer: int) -> list[Tensor]:
    embeddings = [module for module in model.trunk.modules() if isinstance(module, nn.Embedding)]
    return [weight for module in (*embeddings, *model.blocks[:layer]) for weight in module.parameters()]
