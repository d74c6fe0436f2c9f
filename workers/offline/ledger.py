"""What the events of an experiment add up to: the place of the tables."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import singledispatchmethod

from app.hparams import RunHParams
from app.kinds import Split
from workers.loop import Candidate, RunState, Trial
from workers.offline import events
from workers.offline.events import AnyEvent, Compared, Labeled, Rewarded, Trained

STALE_PROMOTIONS = 2
"""After so many promotions a comparison is no supply any more."""
SUPPLY = 16
"""Comparisons that should be ready: one mock labeler answers at once, so the least is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A policy that was published."""

    number: int
    digest: str
    episodes: int
    reward_model: int
    kl: float
    valid_fraction: float


@dataclass(slots=True, kw_only=True)
class Ledger:
    """All that is known of an experiment; changed by `apply` alone."""

    began: events.Began | None = None
    reference: str | None = None
    """Digest of the base model's weights."""
    comparisons: list[Compared] = field(default_factory=list)
    labels: dict[int, Labeled] = field(default_factory=dict)
    """By comparison."""
    scored: dict[int, int] = field(default_factory=dict)
    """Comparison -> newest reward model that scored it."""
    rewards: list[Rewarded] = field(default_factory=list)
    reward_episodes: int = 0
    """Episodes done when the newest reward model was fitted."""
    trainings: list[Trained] = field(default_factory=list)
    policies: list[Published] = field(default_factory=list)
    serving: int | None = None
    """Number of a policy; None: the reference."""
    candidate: int | None = None
    promotions: int = 0
    shown: dict[int | None, events.Shown] = field(default_factory=dict)
    held: list[events.Held] = field(default_factory=list)
    judged: dict[int, events.Judged] = field(default_factory=dict)
    """By policy."""
    optimum: events.Optimum | None = None
    final: events.Final | None = None
    finished: bool = False
    batches: list[range] = field(default_factory=list)
    """Numbers of the comparisons of each sampling job."""
    steps: Counter[str] = field(default_factory=Counter)
    """How many events of each kind; seeds and prompts follow from it."""

    @classmethod
    def of(cls, happened: Iterable[AnyEvent]) -> "Ledger":
        """What these events add up to."""
        ledger = cls()
        for event in happened:
            ledger.apply(event)
        return ledger

    @property
    def hparams(self) -> RunHParams:
        """Of the experiment that began."""
        return self.setup.hparams

    @property
    def setup(self) -> events.Began:
        """How the experiment began."""
        if self.began is None:
            raise ValueError("the experiment has not begun")
        return self.began

    @property
    def episodes(self) -> int:
        """PPO episodes done."""
        return self.trainings[-1].update * self.hparams.ppo.batch if self.trainings else 0

    def apply(self, event: AnyEvent) -> None:
        """Take one more event in."""
        self.steps[event.kind] += 1
        self._apply(event)

    def usable(self, split: Split) -> list[int]:
        """Comparisons of a split whose labels the run's loss uses, in order."""
        used = self.hparams.reward.used_verdicts
        return [
            number
            for number, label in sorted(self.labels.items())
            if label.verdict in used and self.comparisons[number].split is split
        ]

    def fruitless(self, jobs: int) -> bool:
        """Whether none of the last so many sampling jobs led to a usable label."""
        usable, tail = set(self.usable(Split.TRAIN)), self.batches[-jobs:]
        return len(tail) == jobs and not any(number in usable for batch in tail for number in batch)

    def open(self) -> list[int]:
        """Comparisons without an answer, in order."""
        return [number for number in range(len(self.comparisons)) if number not in self.labels]

    def state(self) -> RunState:
        """What `loop.next_actions` wants to know."""
        waiting = [n for n in self.open() if self.comparisons[n].promotion > self.promotions - STALE_PROMOTIONS]
        newest = len(self.rewards) - 1
        return RunState(
            has_reference=self.reference is not None,
            stopped_line=False,
            busy=frozenset(),
            training_labels=len(self.usable(Split.TRAIN)),
            reward_labels=len(self.rewards[-1].labels) if self.rewards else None,
            reward_episodes=self.reward_episodes,
            episodes=self.episodes,
            open_training=sum(self.comparisons[n].split is Split.TRAIN for n in waiting),
            supply_target=SUPPLY,
            unscored=any(self.scored.get(n, -1) < newest for n in self.open()),
            candidate=self._candidate(),
            serving=None if self.serving is None else Trial(attempt=self.serving + 1),
            not_shown=self._not_shown(),
        )

    def _candidate(self) -> Candidate | None:
        if self.candidate is None:
            return None
        policy = self.policies[self.candidate]
        unseen = Trial(attempt=policy.number + 1)  # nobody compares policies blindly here
        return Candidate(kl=policy.kl, valid_fraction=policy.valid_fraction, trial=unseen)

    def _not_shown(self) -> str | None:
        missing = [policy for policy in (None, self.serving) if policy not in self.shown]
        return named(missing[0]) if self.reference is not None and missing else None

    @singledispatchmethod
    def _apply(self, event: AnyEvent) -> None:
        raise TypeError(f"unknown event {event.kind}")

    @_apply.register
    def _(self, event: events.Began) -> None:
        self.began = event

    @_apply.register
    def _(self, event: events.Imported) -> None:
        self.reference = event.digest

    @_apply.register
    def _(self, event: events.Sampled) -> None:
        self.batches.append(range(len(self.comparisons), len(self.comparisons) + len(event.comparisons)))
        for one in event.comparisons:
            if one.reward_model is not None:
                self.scored[len(self.comparisons)] = one.reward_model
            self.comparisons.append(one)

    @_apply.register
    def _(self, event: events.Labeled) -> None:
        self.labels[event.comparison] = event

    @_apply.register
    def _(self, event: events.Brought) -> None:
        for one in event.given:
            number = len(self.comparisons)
            self.comparisons.append(one.question)
            self.labels[number] = Labeled(comparison=number, verdict=one.verdict, best=one.best)

    @_apply.register
    def _(self, event: events.Scored) -> None:
        self.scored |= dict.fromkeys(event.scores, event.reward_model)

    @_apply.register
    def _(self, event: events.Rewarded) -> None:
        self.rewards.append(event)
        self.reward_episodes = self.episodes

    @_apply.register
    def _(self, event: events.Trained) -> None:
        self.trainings.append(event)
        if event.policy_digest is not None:
            self.candidate = len(self.policies)
            self.policies.append(
                Published(
                    number=len(self.policies),
                    digest=event.policy_digest,
                    episodes=self.episodes,
                    reward_model=event.reward_model,
                    kl=_mean(event, "objective/kl"),
                    valid_fraction=_mean(event, "objective/valid_fraction"),
                )
            )

    @_apply.register
    def _(self, event: events.Lost) -> None:  # noqa: ARG002
        self.trainings.pop()

    @_apply.register
    def _(self, event: events.Promoted) -> None:  # noqa: ARG002
        self.serving, self.candidate = self.candidate, None
        self.promotions += 1

    @_apply.register
    def _(self, event: events.Held) -> None:
        self.held.append(event)
        self.candidate = None

    @_apply.register
    def _(self, event: events.Shown) -> None:
        self.shown[event.policy] = event

    @_apply.register
    def _(self, event: events.Judged) -> None:
        self.judged[event.policy] = event

    @_apply.register
    def _(self, event: events.Optimum) -> None:
        self.optimum = event

    @_apply.register
    def _(self, event: events.Final) -> None:
        self.final = event

    @_apply.register
    def _(self, event: events.Finished) -> None:  # noqa: ARG002
        self.finished = True


def named(policy: int | None) -> str:
    """How an action names a policy."""
    return "reference" if policy is None else str(policy)


def _mean(event: Trained, name: str) -> float:
    return sum(one[name] for one in event.stats) / len(event.stats)
