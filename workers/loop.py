"""What a run should start now: a pure state machine, asked at every wake-up.

It knows no clock, database or broker. Waiting is the absence of an action. Whatever it says may be asked again with the
same state: the caller allows one job of a kind in flight per run, and this module names only kinds that are free.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.hparams import PromotionHParams, RunHParams
from app.kinds import JobKind
from app.sequential import evidence_above, evidence_below, rejects
from workers.schedules import Schedule, schedule_of

SAMPLE_CHUNK = 16
"""Comparisons per sampling job, so that one stays well under a minute on a small CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Validation comparisons of a policy against the reference that people have answered."""

    won: int = 0
    lost: int = 0
    open: int = 0
    """That wait for an answer."""
    attempt: int = 1
    """Counts from 1 the policies of a run since it began, went back, or its cord was released."""


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
    """Unlabeled comparisons that would train, lent or not; more than `open_wanted` need not be counted."""
    supply_target: int
    """Comparisons that should be ready, for the people labeling now."""
    unscored: bool
    """Open comparisons lack a score of the newest reward model."""
    candidate: "Candidate | None"
    serving: Trial | None
    """Of the serving policy; None while the reference serves."""
    not_shown: str | None
    """A promoted policy or the reference (its id) that has not continued the showcase prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A published policy that asks to write the samples people see."""

    kl: float
    """Nats per response, last update."""
    valid_fraction: float
    """Share of its samples that end in time, last update."""
    trial: Trial = Trial()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a job of this kind with these arguments."""

    kind: JobKind
    args: dict[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Let the candidate serve."""

    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Keep the candidate from serving, and say why."""

    reason: str
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demote:
    """Let the policy that served before serve again, and say why."""

    reason: str
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """All episodes are done."""


Action = Start | Promote | Hold | Demote | Finish


def next_actions(state: RunState, hparams: RunHParams) -> list[Action]:
    """What to start now, most urgent first; empty while the run waits for people or for jobs in flight."""
    if not state.has_reference:
        return list(_start(state, JobKind.IMPORT_MODEL))
    schedule, judged = schedule_of(hparams), list(_judge(state, hparams))
    return [
        *_demote(state, hparams.promotion),
        *judged,
        *_sample(state, hparams, schedule, promoted=any(isinstance(one, Promote) for one in judged)),
        *_score(state),
        *_train_reward(state, schedule),
        *_train_policy(state, schedule),
        *_showcase(state),
        *_finish(state, hparams),
    ]


def open_wanted(state: RunState, hparams: RunHParams) -> int:
    """How many unlabeled comparisons may be wanted by now: if there are so many, no more are asked for."""
    return max(0, _wanted(state, schedule_of(hparams), promoted=True) - state.training_labels)


def _wanted(state: RunState, schedule: Schedule, *, promoted: bool) -> int:
    """Labels that should be in or asked for by now: a batch more than is due where a policy has just been promoted."""
    asked = schedule.asked(state, state.supply_target)
    return min(schedule.limit(state), asked + SAMPLE_CHUNK) if promoted else asked


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


def _demote(state: RunState, bounds: PromotionHParams) -> Iterator[Demote]:
    """A stopped line does not keep it: what people see gets no worse by it."""
    trial, error = state.serving, bounds.demotion_error
    if trial is not None and error is not None:
        evidence = evidence_below(trial.won, trial.lost, chance=0.5)
        if rejects(evidence, error=error, attempt=trial.attempt):
            said = f"it won {trial.won} of {trial.won + trial.lost} blind comparisons against the reference"
            yield Demote(reason=said, evidence={"won": trial.won, "lost": trial.lost, "log_e": round(evidence, 3)})


def _judge(state: RunState, hparams: RunHParams) -> Iterator[Promote | Hold]:
    candidate = state.candidate
    if candidate is None or state.stopped_line:
        return
    seen = {"kl": candidate.kl, "valid_fraction": candidate.valid_fraction}
    target, bounds = hparams.ppo.kl_target, hparams.promotion
    if target is not None and candidate.kl > bounds.kl_factor * target:
        reason = f"its KL of {candidate.kl:.1f} nats is over {bounds.kl_factor:g} times the target"
        yield Hold(reason=reason, evidence=seen)
    elif candidate.valid_fraction < bounds.least_valid:
        yield Hold(reason=f"only {candidate.valid_fraction:.0%} of its samples end in time", evidence=seen)
    elif bounds.strict:
        yield from _try(candidate.trial, bounds, seen)
    else:
        yield Promote(evidence=seen)


def _try(trial: Trial, bounds: PromotionHParams, seen: dict[str, float]) -> Iterator[Promote | Hold]:
    """Strict: people's blind answers decide, as soon as they can."""
    answered = trial.won + trial.lost
    seen = seen | {"won": trial.won, "lost": trial.lost}
    fit = evidence_above(trial.won, trial.lost, chance=0.5 - bounds.margin)
    unfit = evidence_below(trial.won, trial.lost, chance=0.5)
    if rejects(fit, error=bounds.error):
        yield Promote(evidence=seen | {"log_e": round(fit, 3)})
    elif rejects(unfit, error=bounds.error) or answered >= bounds.most_comparisons:
        said = f"it won {trial.won} of {answered} blind comparisons against the reference"
        yield Hold(reason=said, evidence=seen | {"log_e": round(unfit, 3)})


def _sample(state: RunState, hparams: RunHParams, schedule: Schedule, *, promoted: bool) -> Iterator[Start]:
    """Ask for another batch whenever fewer labels are in or asked for than the schedule wants by now.

    A policy that has just been promoted writes one at once, so that people soon see what their labels did.
    """
    if _trial_due(state, hparams.promotion):
        yield from _start(state, JobKind.SAMPLE, count=SAMPLE_CHUNK, trial=1)
        return
    requested = state.training_labels + state.open_training
    # A policy that waits to be judged writes the next batch, if all of it is one policy's; a stopped line keeps to the
    # approved one.
    waits = schedule.one_policy_per_batch and state.candidate is not None and not state.stopped_line
    if requested < _wanted(state, schedule, promoted=promoted) and not waits:
        yield from _start(state, JobKind.SAMPLE, count=min(SAMPLE_CHUNK, schedule.limit(state) - requested))


def _trial_due(state: RunState, bounds: PromotionHParams) -> bool:
    """Strict: whether a candidate wants more blind comparisons with the reference than wait for an answer."""
    if not bounds.strict or state.candidate is None or state.stopped_line:
        return False
    trial = state.candidate.trial
    return trial.open < SAMPLE_CHUNK and trial.won + trial.lost + trial.open < bounds.most_comparisons


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
