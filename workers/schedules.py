"""When labels are due, when the reward model is trained, how far PPO may go: one class per kind of schedule.

`online` follows Ziegler et al. 2019, section 2.3. `batched` is what its authors advise afterwards (section 4): collect
a batch from the current policy, train the reward model on all labels, optimise against it while it stays as it is,
repeat. `offline` is one such round, on samples of the reference.
"""

from bisect import bisect_right
from typing import Protocol

from app.hparams import RunHParams
from workers.rlhf.schedule import episodes_allowed, labels_required, reward_training_points


class Counts(Protocol):
    """What a schedule looks at."""

    @property
    def training_labels(self) -> int:
        """Usable labels that train."""
        ...

    @property
    def reward_labels(self) -> int | None:
        """Labels that were in when the newest reward model was asked for; None before the first."""
        ...

    @property
    def reward_episodes(self) -> int:
        """Episodes of the run when the newest reward model was fitted."""
        ...

    @property
    def episodes(self) -> int:
        """PPO episodes done."""
        ...


class Schedule(Protocol):
    """One kind of schedule for one run."""

    one_policy_per_batch: bool
    """Whether a batch is written by the policy of the moment alone, so that one which waits to be judged is awaited."""

    def required(self, counts: Counts) -> int:
        """Labels the next update waits for."""
        ...

    def asked(self, counts: Counts, margin: int) -> int:
        """Labels that should be in or asked for by now, `margin` of them for people who label at this moment."""
        ...

    def limit(self, counts: Counts) -> int:
        """Labels that may be in or asked for by now; asking stops there."""
        ...

    def reward_due(self, counts: Counts) -> bool:
        """Whether the reward model should be trained on the labels of now."""
        ...

    def updates_allowed(self, counts: Counts) -> int:
        """PPO updates that may run with the labels and the reward model of now."""
        ...

    def publish_due(self, update: int, *, published_episodes: int, reward_episodes: int) -> bool:
        """Whether a policy should be published after so many updates.

        Args:
            published_episodes: of the newest one that was.
            reward_episodes: of the run when the reward model that PPO follows was fitted.
        """
        ...


def schedule_of(hparams: RunHParams) -> Schedule:
    """The schedule of a run."""
    return Online(hparams) if hparams.schedule.kind == "online" else Batched(hparams)


class Online:
    """People label while PPO runs; PPO waits where labels are late."""

    one_policy_per_batch = False

    def __init__(self, hparams: RunHParams) -> None:
        self.ppo, self.schedule = hparams.ppo, hparams.schedule

    def required(self, counts: Counts) -> int:
        """l(episodes)."""
        return labels_required(
            counts.episodes,
            initial=self.schedule.initial_labels,
            total=self.schedule.total_labels,
            total_episodes=self.ppo.episodes,
        )

    def asked(self, counts: Counts, margin: int) -> int:
        """l(episodes) and `outstanding` beyond; more where more people are labeling."""
        return min(self.schedule.total_labels, self.required(counts) + max(margin, self.schedule.outstanding))

    def limit(self, counts: Counts) -> int:  # noqa: ARG002
        """A batch may reach beyond what is due, never beyond all labels."""
        return self.schedule.total_labels

    def reward_due(self, counts: Counts) -> bool:
        """At label counts evenly spaced; points passed in a burst are made up by one training."""
        schedule = self.schedule
        points = reward_training_points(schedule.initial_labels, schedule.total_labels, schedule.reward_trainings)
        seen = -1 if counts.reward_labels is None else counts.reward_labels
        return any(seen < point <= counts.training_labels for point in points)

    def updates_allowed(self, counts: Counts) -> int:
        """Those that start at episodes whose labels are in."""
        if counts.reward_labels is None or counts.episodes >= self.ppo.episodes:
            return 0
        allowed = episodes_allowed(
            counts.training_labels,
            initial=self.schedule.initial_labels,
            total=self.schedule.total_labels,
            total_episodes=self.ppo.episodes,
        )
        startable = allowed // self.ppo.batch + 1 if allowed >= 0 else 0  # it may start at any episode up to `allowed`
        return max(0, min(startable, self.ppo.updates) - counts.episodes // self.ppo.batch)

    def publish_due(self, update: int, *, published_episodes: int, reward_episodes: int) -> bool:
        """Every `promote_episodes`, `refresh_episodes` into a new reward model, and at the end."""
        episodes, refresh = update * self.ppo.batch, self.schedule.refresh_episodes
        first = refresh is not None and published_episodes <= reward_episodes <= episodes - refresh
        return first or update == self.ppo.updates or episodes - published_episodes >= self.schedule.promote_episodes


class Batched:
    """Rounds of collecting, training the reward model, optimising: as many as reward trainings; offline has one.

    The round follows from the episodes done, so that a run that goes back to an earlier policy goes on from there.
    """

    one_policy_per_batch = True

    def __init__(self, hparams: RunHParams) -> None:
        schedule, rounds = hparams.schedule, hparams.schedule.reward_trainings
        self.ppo = hparams.ppo
        self.points = reward_training_points(schedule.initial_labels, schedule.total_labels, rounds)
        """Labels in all at the end of each round's collecting."""
        self.ends = tuple(hparams.ppo.updates * (k + 1) // rounds for k in range(rounds))
        """Updates in all at the end of each round."""

    def required(self, counts: Counts) -> int:
        """All labels of this round and those before; none more while the policy is optimised."""
        return counts.training_labels if self._fitted(counts) else self.points[self._round(counts)]

    def asked(self, counts: Counts, margin: int) -> int:  # noqa: ARG002
        """The whole batch at once; nothing while the policy is optimised."""
        return 0 if self._fitted(counts) else self.points[self._round(counts)]

    def limit(self, counts: Counts) -> int:
        """The batch and no more: the next one is written by another policy."""
        return self.points[self._round(counts)]

    def reward_due(self, counts: Counts) -> bool:
        """Once per round, when its labels are in."""
        return not self._fitted(counts) and counts.training_labels >= self.points[self._round(counts)]

    def updates_allowed(self, counts: Counts) -> int:
        """To the end of the round, with the reward model of its beginning, whatever becomes of single labels."""
        return self.ends[self._round(counts)] - self._done(counts) if self._fitted(counts) else 0

    def publish_due(self, update: int, *, published_episodes: int, reward_episodes: int) -> bool:  # noqa: ARG002
        """At the end of each round: that policy writes the next batch."""
        return update in self.ends

    def _done(self, counts: Counts) -> int:
        return counts.episodes // self.ppo.batch

    def _round(self, counts: Counts) -> int:
        return min(bisect_right(self.ends, self._done(counts)), len(self.ends) - 1)

    def _fitted(self, counts: Counts) -> bool:
        """Whether the reward model is of this round (or all rounds are over)."""
        if counts.reward_labels is None:
            return False
        place = self._round(counts)
        began = self.ends[place - 1] if place else 0
        return counts.reward_episodes >= began * self.ppo.batch or counts.episodes >= self.ppo.episodes
