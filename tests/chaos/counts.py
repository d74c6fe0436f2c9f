"""What is left in the end, counted, and whatever of it should not be."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import retention, usable
from app.kinds import JobKind
from app.models import Assignment, AssignmentState, Audit, Comparison, Job, JobState, Label, Metric, Phase, Purpose, Run
from app.simulate import Summary
from tests.chaos.world import BATCH, World, hparams
from workers.checkpoints import LostCheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of one ordeal."""

    seed: int
    events: dict[str, int]
    seconds: float
    labels_acknowledged: int
    labels_kept: int
    labels_usable: int
    requests_sent_again: int
    episodes: int
    updates_recorded: int
    updates_made_again: int
    """For a training state that was corrupt."""
    states_lost: int
    jobs: dict[str, int]
    """By state."""
    claims: int
    """Of jobs by workers: more than jobs by as many as were taken up again."""
    failures: int
    resumed: int
    checkpoints_whole: int
    wrong: tuple[str, ...]
    """What was lost or doubled, in words."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def count(world: World, summary: Summary, *, seed: int, events: Counter[str], seconds: float) -> Counts:
    """Look at everything that the run left."""
    with Session(world.engine) as session:
        run = world.run(session)
        labels = session.scalars(select(Label).join(Comparison).where(Comparison.run_id == run.id)).all()
        steps = list(session.scalars(_steps(run)))
        jobs = session.scalars(select(Job).where(Job.run_id == run.id)).all()
        lost = session.scalars(
            select(Audit.detail).where(Audit.run_id == run.id, Audit.action == "training_state.lost")
        )
        whole, broken = _checkpoints(world, session)
        return Counts(
            seed=seed,
            events=dict(sorted(events.items())),
            seconds=round(seconds, 1),
            labels_acknowledged=summary.labels,
            labels_kept=len(labels),
            labels_usable=usable.count_training(session, run.id),
            requests_sent_again=summary.repeats,
            episodes=run.episodes,
            updates_recorded=len(steps),
            updates_made_again=sum((job.result or {}).get("updates", 0) for job in _ppo(jobs)) - len(steps),
            states_lost=len(lost.all()),
            jobs=dict(Counter(job.state.value for job in jobs)),
            claims=sum(job.attempt for job in jobs),
            failures=sum(job.failures for job in jobs),
            resumed=world.resumed,
            checkpoints_whole=whole,
            wrong=(*_wrong(session, run, summary, labels, steps, sum(events.values())), *broken),
        )


def _ppo(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.kind == JobKind.TRAIN_POLICY]


def _steps(run: Run) -> Any:
    return select(Metric.step).where(Metric.run_id == run.id, Metric.name == "objective/kl")


def _wrong(session: Session, run: Run, summary: Summary, labels: Any, steps: list[int], events: int) -> Iterator[str]:
    episodes = hparams(events)["ppo"]["episodes"]
    if (run.phase, run.episodes) != (Phase.FINISHED, episodes):
        yield f"the run is {run.phase} after {run.episodes} of {episodes} episodes"
    if sorted(steps) != list(range(BATCH, episodes + 1, BATCH)):
        yield f"updates recorded: {sorted(steps)}"
    if len(labels) != summary.labels:
        yield f"{summary.labels} labels were acknowledged, {len(labels)} are kept"
    if doubled := [one for one, times in Counter((x.comparison_id, x.labeler_id) for x in labels).items() if times > 1]:
        yield f"{len(doubled)} comparisons were labeled twice by one labeler"
    yield from _too_many_answers(session, run)
    in_hand = (Job.run_id == run.id, Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
    if waiting := session.scalar(select(func.count()).select_from(Job).where(*in_hand)):
        yield f"{waiting} jobs are still in hand"


def _too_many_answers(session: Session, run: Run) -> Iterator[str]:
    answered = (
        select(Comparison.id, Comparison.wanted, func.count(Assignment.id))
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .where(Comparison.run_id == run.id, Comparison.purpose != Purpose.GOLD)
        .where(Assignment.state == AssignmentState.ANSWERED)
        .group_by(Comparison.id)
    )
    surplus = dict(
        session.execute(
            select(Label.comparison_id, func.count()).where(Label.surplus).group_by(Label.comparison_id)
        ).all()
    )
    for comparison, wanted, answers in session.execute(answered):
        if answers - surplus.get(comparison, 0) > (wanted or 0):
            yield f"comparison {comparison} has {answers} answers and wants {wanted}"


def _checkpoints(world: World, session: Session) -> tuple[int, list[str]]:
    whole, broken = 0, []
    for digest in retention.wanted_digests(session):
        try:
            world.store.verify(digest)
            whole += 1
        except LostCheckpointError as error:
            broken.append(error.fact)
    return whole, broken
