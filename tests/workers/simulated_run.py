"""A whole run in simulated time: job rows, messages and workers as the tables have them, PPO and people as counters.

Workers claim, compute, write files and record, one stage at a time, so that a kill may come between any two. What is
recorded goes into histories that tests hold against what a schedule promises.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from app.hparams import RunHParams
from app.kinds import JobKind
from workers import loop
from workers.loop import Candidate, RunState
from workers.schedules import schedule_of

UPDATES_PER_JOB = 4
STAGES = ("computed", "filed")
"""What a worker has done of a job before it records."""


@dataclass(slots=True, kw_only=True)
class SimJob:
    """A job row."""

    number: int
    kind: JobKind
    args: dict[str, int | str]
    labels: int
    """In when it was decided."""
    state: str = "queued"
    attempt: int = 0


@dataclass(slots=True, kw_only=True)
class SimWorker:
    """A worker with a job in its hands, and what it read of the tables when it claimed."""

    job: SimJob
    attempt: int
    episodes: int
    serving: int
    reward_model: int
    stages: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Written:
    """A comparison for people."""

    policy: int
    promotion: int
    labeled: bool = False


@dataclass(slots=True, kw_only=True)
class SimUpdate:
    """One recorded PPO update."""

    episode: int
    reward_model: int
    labels: int
    """Labels in when its job was decided."""


class SimulatedRun:
    """Tables, broker and people."""

    def __init__(self, hparams: RunHParams, seed: int = 0) -> None:
        self.hparams, self.random = hparams, Random(seed)
        self.schedule = schedule_of(hparams)
        self.jobs: list[SimJob] = []
        self.messages: list[int] = []
        self.workers: list[SimWorker] = []
        self.written: list[Written] = []
        self.updates: list[SimUpdate] = []
        """Of the run's present training state, in order."""
        self.trained: list[tuple[int, int]] = []
        """Of each reward model the labels in when it was decided, and the episodes done when it was recorded."""
        self.published: list[int] = []
        """Episodes of each policy; policy 0 is the reference."""
        self.has_reference = self.finished = self.pulled = False
        self.candidate: int | None = None
        self.serving = self.promotions = 0
        self.files = Counter[str]()

    @property
    def labels(self) -> int:
        """Usable labels."""
        return sum(one.labeled for one in self.written)

    @property
    def episodes(self) -> int:
        """PPO episodes done."""
        return len(self.updates) * self.hparams.ppo.batch

    def open(self) -> list[Written]:
        """Comparisons that wait for a label and are fresh."""
        return [one for one in self.written if not one.labeled and one.promotion > self.promotions - 2]

    def state(self) -> RunState:
        """As `plan.read_state` reads it."""
        return RunState(
            has_reference=self.has_reference,
            stopped_line=self.pulled,
            busy=frozenset(job.kind for job in self.jobs if job.state != "done"),
            training_labels=self.labels,
            reward_labels=self.trained[-1][0] if self.trained else None,
            reward_episodes=self.trained[-1][1] if self.trained else 0,
            episodes=self.episodes,
            open_training=len(self.open()),
            supply_target=16,
            unscored=False,
            candidate=None if self.candidate is None else Candidate(kl=1.0, valid_fraction=1.0),
            serving=None,
            not_shown=None,
        )

    def advance(self) -> bool:
        """Decide and start, as the tick does; False if nothing was to be done."""
        actions = [] if self.finished else loop.next_actions(self.state(), self.hparams)
        for action in actions:
            match action:
                case loop.Start(kind=kind, args=args):
                    in_flight = [job.kind for job in self.jobs if job.state != "done"]
                    assert kind not in in_flight, f"two jobs of {kind} in flight"
                    self.jobs.append(SimJob(number=len(self.jobs), kind=kind, args=dict(args), labels=self.labels))
                    self.messages.append(len(self.jobs) - 1)
                case loop.Promote():
                    assert self.candidate is not None
                    self.serving, self.candidate = self.candidate, None
                    self.promotions += 1
                case loop.Hold() | loop.Demote():
                    raise AssertionError("nothing is wrong with the candidates of this world")
                case loop.Finish():
                    self.finished = True
        return bool(actions)

    def claim(self) -> None:
        """The next message reaches a worker."""
        job = self.jobs[self.messages.pop(0)]
        if job.state != "queued":
            return
        job.state, job.attempt = "running", job.attempt + 1
        self.workers.append(
            SimWorker(
                job=job,
                attempt=job.attempt,
                episodes=self.episodes,
                serving=self.serving,
                reward_model=len(self.trained) - 1,
            )
        )

    def revive(self) -> None:
        """The watchdog: what a dead worker holds is queued again, and what is queued is sent again."""
        held = {worker.job.number for worker in self.workers if worker.attempt == worker.job.attempt}
        for job in self.jobs:
            if job.state == "running" and job.number not in held:
                job.state = "queued"
            if job.state == "queued" and job.number not in self.messages:
                self.messages.append(job.number)

    def silence(self, worker: SimWorker) -> None:
        """A worker that works on but is taken for dead: its job goes to another too."""
        if worker.job.state == "running" and worker.job.attempt == worker.attempt:
            worker.job.state = "queued"
            self.messages.append(worker.job.number)

    def work(self, worker: SimWorker) -> None:
        """One stage further; the last is the record, which is void if the job has been claimed again or is done."""
        if len(worker.stages) < len(STAGES):
            worker.stages.append(STAGES[len(worker.stages)])
            self.files[worker.job.kind] += worker.stages[-1] == "filed"
            return
        self.workers.remove(worker)
        if worker.job.attempt == worker.attempt and worker.job.state == "running":
            self._record(worker)
            worker.job.state = "done"

    def label(self) -> None:
        """Somebody answers what is newest, as leases go."""
        waiting = self.open()
        if waiting:
            max(waiting, key=lambda one: one.promotion).labeled = True

    def undo(self) -> None:
        """Somebody takes a label back."""
        given = [one for one in self.written if one.labeled]
        if given:
            self.random.choice(given).labeled = False

    def _record(self, worker: SimWorker) -> None:
        match worker.job.kind:
            case JobKind.IMPORT_MODEL:
                self.has_reference, self.published = True, [0]
            case JobKind.SAMPLE:
                count = int(worker.job.args["count"])
                assert count > 0
                self.written += [Written(policy=worker.serving, promotion=self.promotions) for _ in range(count)]
            case JobKind.TRAIN_REWARD:
                self.trained.append((int(worker.job.args["labels"]), self.episodes))
            case JobKind.TRAIN_POLICY:
                self._optimise(worker)

    def _optimise(self, worker: SimWorker) -> None:
        batch = self.hparams.ppo.batch
        assert worker.episodes == self.episodes, "two jobs went on from the same state"
        if self.pulled:
            return
        for done in range(min(int(worker.job.args["updates"]), UPDATES_PER_JOB)):
            episode = worker.episodes + done * batch
            made = SimUpdate(episode=episode, reward_model=worker.reward_model, labels=worker.job.labels)
            self.updates.append(made)
            fitted = self.trained[worker.reward_model][1]
            if self.schedule.publish_due(
                len(self.updates), published_episodes=self.published[-1], reward_episodes=fitted
            ):
                self.published.append(self.episodes)
                self.candidate = len(self.published) - 1
                return


@dataclass(slots=True)
class Accident:
    """To the job that is the `job`-th in order, after so many stages: its worker dies, or is taken for dead."""

    job: int
    stages: int
    seen: int = 0

    def befall(self, run: SimulatedRun) -> None:
        """If it is time."""
        for worker in list(run.workers):
            self.seen += 1
            if self.seen == self.job:
                for _ in range(min(self.stages, len(STAGES))):
                    run.work(worker)
                if self.stages > len(STAGES):
                    run.silence(worker)
                else:
                    run.workers.remove(worker)
                run.revive()


def settle(run: SimulatedRun, accident: Accident | None = None) -> None:
    """All work is done that can be done without another label."""
    while run.advance() or run.messages or run.workers:
        while run.messages:
            run.claim()
        if accident is not None:
            accident.befall(run)
        while run.workers:
            run.work(run.workers[0])


def calmly(run: SimulatedRun, steps: int, accident: Accident | None = None) -> None:
    """One label after another, all work done between them; ends early when the run is finished."""
    for _ in range(steps):
        settle(run, accident)
        if run.finished:
            return
        run.label()


def wildly(run: SimulatedRun, steps: int) -> None:
    """Anything may happen at any time: kills, lost and doubled messages, deaf workers, undone labels, the cord."""
    for _ in range(steps):
        if run.finished:
            return
        event = run.random.random()
        worker = run.random.choice(run.workers) if run.workers else None
        if event < 0.3:
            run.label()
        elif event < 0.5:
            run.advance()
        elif event < 0.6 and run.messages:
            run.random.shuffle(run.messages)
            run.claim()
        elif event < 0.8 and worker:
            run.work(worker)
        elif event < 0.83 and worker:
            run.workers.remove(worker)  # killed, between any two stages
        elif event < 0.85 and worker:
            run.silence(worker)
        elif event < 0.87 and run.messages:
            run.messages.pop()  # lost
        elif event < 0.89 and run.messages:
            run.messages.append(run.messages[0])  # doubled
        elif event < 0.9:
            run.undo()
        elif event < 0.91:
            run.pulled = not run.pulled
        else:
            run.revive()
