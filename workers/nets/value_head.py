"""Expected returns: a scalar head on hidden states, and a network that has no other use."""

import torch
from torch import Tensor, nn

from workers.nets.language_model import LanguageModel, causal_mask
from workers.nets.last_block import last_states, splits_last
from workers.nets.precision import full_precision
from workers.rlhf.masks import position_ids
from workers.rlhf.types import TrunkStates


class ValueHead(nn.Linear):
    """Linear, from (n, width) hidden states to (n,) values; starts at zero (Ziegler et al. 2019, section 2.2)."""

    def __init__(self, width: int, *, device: torch.device) -> None:
        super().__init__(width, 1, device=device)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., width) hidden states -> (...) float32 values, also within autocast."""
        with full_precision(hidden.device):
            values = super().forward(hidden.float().reshape(-1, hidden.shape[-1]))
        return values.view(hidden.shape[:-1])


class ValueNetwork(nn.Module):
    """A trunk and a value head beside the policy's own (Stiennon et al. 2020, appendix B)."""

    def __init__(self, language_model: LanguageModel) -> None:
        """Take over `language_model`; its LM head is not used and not trained."""
        super().__init__()
        self.language_model = language_model
        self.value_head = ValueHead(language_model.width, device=language_model.device)
        read = {id(parameter) for parameter in language_model.trunk.parameters()}
        for parameter in language_model.parameters():
            parameter.requires_grad_(id(parameter) in read)  # a head tied to the embeddings is part of the trunk

    def forward(self, queries: Tensor, query_mask: Tensor, responses: Tensor) -> Tensor:
        """(b, r) float32; the expected return before each response token. Arguments as in `response_hidden`."""
        values: Tensor = self.value_head(response_hidden(self.language_model, queries, query_mask, responses))
        return values


def response_hidden(
    model: LanguageModel,
    queries: Tensor,
    query_mask: Tensor,
    responses: Tensor,
    trunk: TrunkStates | None = None,
    *,
    last_too: bool = False,
) -> Tensor:
    """Hidden states before each response token, after the final norm.

    Args:
        queries: (b, q) int64, left-padded.
        query_mask: (b, q) bool; True marks a real token.
        responses: (b, r) int64, before truncation: every token counts.
        trunk: what the model's lowest blocks make of them; None: compute it.
        last_too: read the last token too, from which nothing is predicted, for whoever watches the blocks below the
            last one; it is then part of `trunk` as well.
    Returns: (b, r, width) float.
    """
    before = responses if last_too else responses[:, :-1]
    ids = torch.cat([queries, before], dim=1)
    mask = torch.cat([query_mask, torch.ones_like(before, dtype=torch.bool)], dim=1)
    attend, positions = causal_mask(mask), position_ids(mask)

    def run() -> Tensor:
        if trunk is None:
            return model.run_trunk(ids, attend, positions)
        return model.run_above(trunk.layer, trunk.states, attend, positions)

    read, t = responses.shape[1], ids.shape[1] - last_too
    if not splits_last(model):
        return run()[:, t - read : t]
    top = model.num_layers - 1
    states = trunk.states if trunk is not None and trunk.layer == top else model.until(top, run)
    return last_states(model, states[:, :t], attend[:, :, :t, :t], positions[:, :t], read=read)
