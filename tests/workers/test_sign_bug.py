"""The bug of 2019: in a run with 1,000 episodes behind it the sign of reward and KL is flipped. Who stops it, and when?

A real trainer on a tiny model, a known reward in the place of the reward model, and simulated people who answer by it
with noise, as fast as the label schedule asks. A tenth of what they answer are blind comparisons with the reference.
"""

import copy
from pathlib import Path
from random import Random

import pytest
from torch import Tensor

from app.hparams import AndonHParams, GuardHParams, PPOHParams
from tests.tiny import save_tiny_model
from tests.workers.test_ppo_trainer import batch, counts_happy, make_trainer
from workers import training_state
from workers.detectors import DETECTORS, Evidence, Tally, UpdateFigures
from workers.ppo_objective import Objective
from workers.ppo_trainer import PPOTrainer
from workers.rlhf.guards import GuardError
from workers.rlhf.schedule import labels_required
from workers.rlhf.types import Rollout
from workers.watch import NAMES

BATCH, UPDATES, FLIP, SERVED_EVERY = 16, 126, 63, 10
"""Episodes per update; updates of a run; the first that is flipped, with 1,008 episodes behind; a policy for people."""
PPO = PPOHParams(
    episodes=BATCH * UPDATES,
    batch=BATCH,
    micro_batch=BATCH,
    learning_rate=5e-4,
    kl_coef=0.1,
    kl_target=2.0,
    kl_horizon=160,
    guards=GuardHParams(sign_check=None, invalid_fraction=1.0),
)
BOUNDS = AndonHParams()
NOISE = 0.3
"""Standard deviation of what people and reward model each add to the known reward."""


class Flipped(Objective):
    """Rewards what scores low and leaving the reference."""

    def rewards(self, batch: Rollout, *, kl_coef: float) -> Tensor:
        return -super().rewards(batch, kl_coef=kl_coef)


class Life:
    """A run with its people."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, Random(seed)
        self.trainer = make_trainer(folder, PPO)
        self.trainer.seed = seed
        self.rows: list[UpdateFigures] = []
        self.labels = 64
        self.of_reference = self._scores()
        self.of_serving = self.of_reference
        self.policies = 0
        self.blind = [0, 0]
        self.choices = [0, 0]
        self.pulled: dict[str, int] = {}
        """Detector -> labels given when it pulled."""
        self.said: list[str] = []
        """The reasons given."""
        self.flipped_served_at: int | None = None

    def restart(self, objective: Objective, guards: GuardHParams) -> PPOTrainer:
        """Another process goes on from the training state, with another objective."""
        ppo = PPO.model_copy(update={"guards": guards})
        objective.ppo = ppo
        made = make_trainer(self.folder, ppo, objective=objective)
        made.seed = self.trainer.seed
        training_state.unpack(made, *copy.deepcopy(training_state.pack(self.trainer)))
        return made

    def update(self, *, flipped: bool = False) -> None:
        """One update, the labels that are due, and a look of every detector."""
        stats = self.trainer.update(batch(self.folder), counts_happy(self.folder))
        self.rows.append(UpdateFigures(**{field: stats[name] for field, name in NAMES.items()}))
        done = self.trainer.progress.update
        if done % SERVED_EVERY == 0:
            self.of_serving, self.policies, self.blind = self._scores(), self.policies + 1, [0, 0]
            if flipped and self.flipped_served_at is None:
                self.flipped_served_at = self.labels
        due = labels_required(done * BATCH, initial=64, total=600, total_episodes=PPO.episodes)
        while self.labels < due:
            self._answer()
            self._look()

    def _answer(self) -> None:
        self.labels += 1
        if self.policies and self.random.random() < 0.1:
            theirs, ours = (self.random.choices(scores, k=2) for scores in (self.of_reference, self.of_serving))
            self.blind[max(map(self._noisy, ours)) < max(map(self._noisy, theirs))] += 1
        shown = self.random.choices(self.of_serving, k=4)
        said = [self._noisy(score) for score in shown]
        scored = [self._noisy(score) for score in shown]
        better = sum(one > scored[said.index(max(said))] for one in scored)
        self.choices[better >= 2] += 1

    def _look(self) -> None:
        evidence = Evidence(
            first=self.rows[: BOUNDS.band_updates],
            last=self.rows[-BOUNDS.trend_updates :],
            batch=BATCH,
            kl_target=PPO.kl_target,
            blind=Tally(hits=self.blind[0], misses=self.blind[1], attempt=max(1, self.policies)),
            choices=Tally(hits=self.choices[0], misses=self.choices[1], attempt=1),
        )
        for name, detector in DETECTORS.items():
            if name not in self.pulled and (reason := detector(evidence, BOUNDS)) is not None:
                self.pulled[name] = self.labels
                self.said.append(reason)

    def _noisy(self, score: float) -> float:
        return score + self.random.gauss(0, NOISE)

    def _scores(self) -> list[float]:
        sampled = self.trainer.sample(batch(self.folder))
        scores: list[float] = self.trainer.scores(sampled, counts_happy(self.folder)).tolist()
        return scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def grown(folder: Path) -> Life:
    """A healthy run of 1,008 episodes."""
    life = Life(folder, seed=1)
    for _ in range(FLIP):
        life.update()
    assert life.pulled == {}
    assert life.rows[-1].score > life.rows[0].score
    return life


def test_the_sign_check_stops_it_before_the_first_flipped_update_is_saved(grown: Life) -> None:
    checked = grown.restart(Flipped(PPO), GuardHParams(invalid_fraction=1.0))
    with pytest.raises(GuardError, match="cosine of the score's gradient"):
        checked.update(batch(grown.folder), counts_happy(grown.folder))
    assert checked.progress == grown.trainer.progress
    right = grown.restart(Objective(PPO), GuardHParams(invalid_fraction=1.0))
    right.update(batch(grown.folder), counts_happy(grown.folder))
    assert right.progress.update == FLIP + 1


def test_without_it_the_others_stop_it_within_a_hundred_labels_of_the_first_flipped_sample(grown: Life) -> None:
    grown.trainer = grown.restart(Flipped(PPO), PPO.guards)
    while not grown.pulled and len(grown.rows) < UPDATES:
        grown.update(flipped=True)
    served = grown.flipped_served_at
    assert served is not None
    assert "falling scores" in grown.pulled
    assert grown.pulled["falling scores"] - served <= 100
    assert "look for a flipped sign" in grown.said[0]


@pytest.mark.slow
def test_of_twenty_healthy_runs_at_most_one_is_stopped(folder: Path) -> None:
    stopped = []
    for seed in range(20):
        life = Life(folder, seed)
        while len(life.rows) < UPDATES:
            life.update()
        stopped += [life.pulled] if life.pulled else []
    assert len(stopped) <= 1, stopped


def test_a_healthy_run_is_not_stopped(folder: Path) -> None:
    life = Life(folder, seed=7)
    while len(life.rows) < UPDATES:
        life.update()
    assert life.pulled == {}
    assert sum(life.choices) == 600 - 64
