"""Several reward models as one: their mean is the score, their spread says how sure it is."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from workers.nets.language_model import LanguageModel
from workers.nets.reward_model import RewardModel, Scored


class RewardEnsemble(nn.Module):
    """score = gain * mean over the members + bias; disagreement = gain * standard deviation over the members.

    Each member has its own scale; gain and bias bring their mean, which varies less than they do, to the scale that
    the KL coefficient counts on. Members with a frozen trunk share it and one pass through it.
    Source: Lakshminarayanan et al. 2017; Christiano et al. 2017, section 2.2.
    """

    def __init__(self, members: Sequence[RewardModel]) -> None:
        """Raises: ValueError unless there are two members that read the same."""
        super().__init__()
        if len(members) < 2 or len({(member.reads, member.frozen) for member in members}) > 1:
            raise ValueError(f"an ensemble needs two members or more that read the same, got {len(members)}")
        self.members = nn.ModuleList(members)
        self.frozen = members[0].frozen
        device = members[0].gain.device
        self.gain = nn.Parameter(torch.ones((), device=device))
        self.bias = nn.Parameter(torch.zeros((), device=device))

    def forward(self, queries: Tensor, query_mask: Tensor, responses: Tensor, response_mask: Tensor) -> Tensor:
        """(n,) float32 scores of truncated responses; arguments as of `RewardModel.forward`."""
        return self.combine(self.member_scores(queries, query_mask, responses, response_mask)).scores

    def member_scores(self, queries: Tensor, query_mask: Tensor, responses: Tensor, response_mask: Tensor) -> Tensor:
        """(m, n) float32: what each member says, at its own scale."""
        if not self.frozen:
            return torch.stack([one(queries, query_mask, responses, response_mask) for one in self.members])
        return self.score_features(next(self.parts()).branch_features(queries, query_mask, responses, response_mask))

    def score_states(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """(n,) float32 scores from hidden states of the trunk that frozen members share; as of `RewardModel`."""
        return self.combine(self.score_features(next(self.parts()).read_states(states, mask))).scores

    def score_features(self, features: Tensor) -> Tensor:
        """(n, reads * width) features that frozen members share -> (m, n) float32."""
        return torch.stack([member.score_features(features) for member in self.parts()])

    def combine(self, members: Tensor) -> Scored:
        """What (m, n) `member_scores` come to; the standard deviation is the unbiased one."""
        std, mean = torch.std_mean(members, dim=0, correction=1)
        return Scored(self.gain * mean + self.bias, self.gain * std)

    @property
    def trunk(self) -> LanguageModel:
        """The first member's, which frozen ones share."""
        return next(self.parts()).trunk

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that each member reads."""
        return next(self.parts()).layers

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.gain.device

    def head_state_dict(self) -> dict[str, Tensor]:
        """All that frozen trunks leave to save: the members' heads, gain and bias."""
        return {name: value for name, value in self.state_dict().items() if ".trunk." not in name}

    def load_head_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `head_state_dict` gave. Raises: ValueError if something is missing or too much."""
        if state.keys() != self.head_state_dict().keys():
            raise ValueError(f"expected {sorted(self.head_state_dict())}, got {sorted(state)}")
        self.load_state_dict(state, strict=False)

    def parts(self) -> Iterator[RewardModel]:
        """The members."""
        for member in self.members:
            assert isinstance(member, RewardModel)
            yield member


Reward = RewardModel | RewardEnsemble
"""What gives scores: one model or several; both are called alike."""
