"""What a run should start now: a pure state machine, asked at every wake-up.

It knows no clock, database or broker. Waiting is the absence of an action. Whatever it says may be asked again with the
same state: the caller allows one job of a kind in flight per run, and this module names only kinds that are free.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.hparams import RunHParams
from app.kinds import JobKind
from workers.schedules import Schedule, schedule_of

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
    """Labels that were in when the newest reward model was asked for; None before the first. Labels that were taken
    back since do not make another training due."""
    reward_episodes: int
    """Episodes of the run when the newest reward model was fitted; 0 before the first."""
    episodes: int
    """PPO episodes done."""
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
    schedule = schedule_of(hparams)
    return [
        *_judge(state, hparams),
        *_sample(state, schedule),
        *_score(state),
        *_train_reward(state, schedule),
        *_train_policy(state, schedule),
        *_showcase(state),
        *_finish(state, hparams),
    ]


def required_now(state: RunState, hparams: RunHParams) -> int:
    """Labels the next PPO update waits for."""
    return schedule_of(hparams).required(state)


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
    if schedule_of(hparams).updates_allowed(state) > 0:
        return None
    return "its first reward model" if state.reward_labels is None else "a reward model on all labels"


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


def _sample(state: RunState, schedule: Schedule) -> Iterator[Start]:
    """Ask for another batch whenever fewer labels are in or asked for than the schedule wants by now."""
    requested = state.training_labels + state.open_training
    # A policy that waits to be judged writes the next batch, if all of it is one policy's; a stopped line keeps to the
    # approved one.
    waits = schedule.one_policy_per_batch and state.candidate is not None and not state.stopped_line
    if requested < schedule.asked(state, state.supply_target) and not waits:
        yield from _start(state, JobKind.SAMPLE, count=min(SAMPLE_CHUNK, schedule.limit(state) - requested))


def _score(state: RunState) -> Iterator[Start]:
    if state.reward_labels is not None and state.unscored:
        yield from _start(state, JobKind.SCORE)


def _train_reward(state: RunState, schedule: Schedule) -> Iterator[Start]:
    if schedule.reward_due(state):
        yield from _start(state, JobKind.TRAIN_REWARD, labels=state.training_labels)


def _train_policy(state: RunState, schedule: Schedule) -> Iterator[Start]:
    allowed = schedule.updates_allowed(state)
    if not state.stopped_line and allowed > 0:
        yield from _start(state, JobKind.TRAIN_POLICY, updates=allowed)


def _showcase(state: RunState) -> Iterator[Start]:
    if state.not_shown is not None:
        yield from _start(state, JobKind.SHOWCASE, policy=state.not_shown)


def _finish(state: RunState, hparams: RunHParams) -> Iterator[Finish]:
    done = state.episodes >= hparams.ppo.episodes
    if done and not state.busy and state.candidate is None and state.not_shown is None:
        yield Finish()
