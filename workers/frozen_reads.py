"""What frozen reward models read of samples: computed once, for the scores of now and for the fits to come."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.hparams import RewardHead
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import Read, Scored
from workers.reward_features import FeatureCache
from workers.reward_labels import EncodedSample
from workers.reward_members import Trunk, reads_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenReads:
    """Reads of the frozen ones among a run's candidates, all from one pass per sample."""

    trunk: Trunk
    cache: FeatureCache
    heads: tuple[RewardHead, ...]
    """The candidates; tuned ones are passed over."""
    bf16: bool

    def features(self, samples: Sequence[EncodedSample], wanted: Sequence[Read] = ()) -> Tensor:
        """(n, wanted * width) float32 on the CPU; what is not wanted now is computed and kept all the same."""
        own = [read for head in self.heads if not head.tuned for read in reads_of(head, self.trunk.reference)]
        reads = list(dict.fromkeys([*own, *wanted]))
        if not reads or not samples:
            return torch.empty(len(samples), len(wanted) * self.trunk.reference.width)
        found = self.cache.features(self.trunk.reference, self.trunk.digest, samples, reads, bf16=self.bf16)
        return found[:, [reads.index(read) for read in wanted]].flatten(1)

    def judge(self, model: Reward, samples: Sequence[EncodedSample]) -> Scored:
        """Scores and, of an ensemble, disagreement, each (n,) float32 on the CPU, of a model whose trunk is frozen."""
        members = list(model.parts()) if isinstance(model, RewardEnsemble) else [model]
        features = self.features(samples, members[0].reads).to(model.device)
        with torch.inference_mode():
            scores, disagreement = model.combine(torch.stack([one.score_features(features) for one in members]))
        return Scored(scores.cpu(), None if disagreement is None else disagreement.cpu())
