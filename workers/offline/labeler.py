"""A mock labeler: answers by a known reward, with noise, the same way each time it is asked."""

import random
from dataclasses import dataclass

from app.kinds import Verdict
from app.rules import TIE, Rule
from workers.offline.events import Compared, Labeled


@dataclass(frozen=True, slots=True, kw_only=True)
class MockLabeler:
    """Picks by a rule; with probability `noise` at random instead."""

    rule: Rule
    noise: float
    seed: int

    def answer(self, number: int, compared: Compared) -> Labeled:
        """The label of comparison `number`."""
        rng = random.Random(f"{self.seed}:{number}")
        texts = [sample.text for sample in compared.samples]
        chosen = rng.randrange(len(texts)) if rng.random() < self.noise else self.rule(compared.prompt, texts)
        if chosen == TIE:
            return Labeled(comparison=number, verdict=Verdict.TIE, best=None)
        return Labeled(comparison=number, verdict=Verdict.BEST, best=int(chosen))
