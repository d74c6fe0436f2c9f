"""What a run should start now: a pure state machine, asked at every wake-up.

It knows no clock, database or broker. Waiting is the absence of an action. Whatever it says may be asked again with the
same state: the caller allows one job of a kind in flight per run, and this module names only kinds that are free.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.hparams import RunHParams, ScheduleHParams
from app.kinds import JobKind
from workers.rlhf.schedule import episodes_allowed, labels_required, reward_training_points

SAMPLE_CHUNK = 16
"""Comparisons per sampling job, so that one stays well under a minute on a small CPU."""
MAX_CANDIDATE_KL = 4.0
"""A candidate whose KL exceeds the target by this factor is held back."""

MIN_CANDIDATE_VALID = 0.05
"""A candidate that ends fewer of its samples in time is held back: sampling for people would hardly come to an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """All that decides what comes next."""

    has_reference: bool
    stopped_line: bool
    """The andon cord is pulled: no PPO, no promotion."""
    busy: frozenset[JobKind]
    """Kinds with a job queued, running or failed: none of these may start."""
    training_labels: int
    """Usable labels that train."""
    reward_labels: int | None
    """Size of the newest reward model's label set; None before the first."""
    episodes: int
    fresh_ready: int
    """Comparisons ready for a labeler and less than two promotions old."""
    open_training: int
    """Unlabeled comparisons that would train, lent or not."""
    supply_target: int
    """Comparisons that should be ready, for the people labeling now."""
    unscored: bool
    """Open comparisons lack a score of the newest reward model."""
    candidate: "Candidate | None"
    not_shown: str | None
    """A promoted policy or the reference (its id) that has not continued the showcase prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A published policy that asks to write the samples people see."""

    kl: float
    """Nats per response, last update."""
    valid_fraction: float
    """Share of its samples that end in time, last update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a job of this kind with these arguments."""

    kind: JobKind
    args: dict[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Let the candidate serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Keep the candidate from serving, and say why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """All episodes are done."""


Action = Start | Promote | Hold | Finish


def next_actions(state: RunState, hparams: RunHParams) -> list[Action]:
    """What to start now, most urgent first; empty while the run waits for people or for jobs in flight."""
    if not state.has_reference:
        return list(_start(state, JobKind.IMPORT_MODEL))
    return [
        *_judge(state, hparams),
        *_sample(state, hparams.schedule, hparams.ppo.episodes),
        *_score(state),
        *_train_reward(state, hparams.schedule),
        *_train_policy(state, hparams),
        *_showcase(state),
        *_finish(state, hparams),
    ]


def required_now(state: RunState, hparams: RunHParams) -> int:
    """Labels the next PPO update waits for: l(episodes) of the schedule."""
    return _required(state.episodes, hparams.schedule, hparams.ppo.episodes)


def updates_allowed(state: RunState, hparams: RunHParams) -> int:
    """PPO updates that may run before more labels are needed."""
    schedule, ppo = hparams.schedule, hparams.ppo
    if state.episodes >= ppo.episodes:
        return 0
    allowed = episodes_allowed(
        state.training_labels,
        initial=schedule.initial_labels,
        total=schedule.total_labels,
        total_episodes=ppo.episodes,
    )
    startable = allowed // ppo.batch + 1 if allowed >= 0 else 0  # an update starts at any episode up to `allowed`
    return max(0, min(startable, ppo.updates) - state.episodes // ppo.batch)


def waiting_for(state: RunState, hparams: RunHParams) -> str | None:
    """What the run waits for, as a phrase for people; None while PPO may go on."""
    if not state.has_reference:
        return "the language model to load"
    if state.stopped_line:
        return "a researcher to release the andon cord"
    if state.episodes >= hparams.ppo.episodes:
        return None
    missing = required_now(state, hparams) - state.training_labels
    if missing > 0:
        return f"{missing} more label{'s' if missing > 1 else ''}"
    return "its first reward model" if state.reward_labels is None else None


def _required(episode: int, schedule: ScheduleHParams, total_episodes: int) -> int:
    return labels_required(
        episode, initial=schedule.initial_labels, total=schedule.total_labels, total_episodes=total_episodes
    )


def _start(state: RunState, kind: JobKind, **args: int | str) -> Iterator[Start]:
    if kind not in state.busy:
        yield Start(kind=kind, args=args)


def _judge(state: RunState, hparams: RunHParams) -> Iterator[Promote | Hold]:
    candidate = state.candidate
    if candidate is None or state.stopped_line:
        return
    target = hparams.ppo.kl_target
    if target is not None and candidate.kl > MAX_CANDIDATE_KL * target:
        yield Hold(reason=f"its KL of {candidate.kl:.1f} nats is over {MAX_CANDIDATE_KL:.0f} times the target")
    elif candidate.valid_fraction < MIN_CANDIDATE_VALID:
        yield Hold(reason=f"only {candidate.valid_fraction:.0%} of its samples end in time")
    else:
        yield Promote()


def _sample(state: RunState, schedule: ScheduleHParams, total_episodes: int) -> Iterator[Start]:
    """Fill the queue up to the supply target, but ask for no more labels than the schedule and its margin."""
    required = _required(state.episodes, schedule, total_episodes)
    limit = min(schedule.total_labels, required + schedule.outstanding)
    room = limit - state.training_labels - state.open_training
    wanted = min(state.supply_target - state.fresh_ready, room, SAMPLE_CHUNK)
    # A few samples take a worker almost as long as many, so a job waits until it is worth it or labels depend on it.
    due = state.training_labels + state.open_training < max(required, 1) or limit == schedule.total_labels
    if wanted >= SAMPLE_CHUNK // 2 or (wanted > 0 and due):
        yield from _start(state, JobKind.SAMPLE, count=wanted)


def _score(state: RunState) -> Iterator[Start]:
    if state.reward_labels is not None and state.unscored:
        yield from _start(state, JobKind.SCORE)


def _train_reward(state: RunState, schedule: ScheduleHParams) -> Iterator[Start]:
    points = reward_training_points(schedule.initial_labels, schedule.total_labels, schedule.reward_trainings)
    seen = -1 if state.reward_labels is None else state.reward_labels
    if any(seen < point <= state.training_labels for point in points):
        yield from _start(state, JobKind.TRAIN_REWARD)


def _train_policy(state: RunState, hparams: RunHParams) -> Iterator[Start]:
    allowed = updates_allowed(state, hparams)
    if state.reward_labels is not None and not state.stopped_line and allowed > 0:
        yield from _start(state, JobKind.TRAIN_POLICY, updates=allowed)


def _showcase(state: RunState) -> Iterator[Start]:
    if state.not_shown is not None:
        yield from _start(state, JobKind.SHOWCASE, policy=state.not_shown)


def _finish(state: RunState, hparams: RunHParams) -> Iterator[Finish]:
    done = state.episodes >= hparams.ppo.episodes
    if done and not state.busy and state.candidate is None and state.not_shown is None:
        yield Finish()
