"""One experiment: decide, do, write down, until all episodes are done.

Every action ends with its events in the journal; files are on the disk before the event that names them. So whatever
is killed, the next start goes on from the last event.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import ConflictError
from app.kinds import JobKind
from workers import loop
from workers.offline import events
from workers.offline.events import AnyEvent
from workers.offline.journal import Journal
from workers.offline.labeler import MockLabeler
from workers.offline.ledger import Ledger, named
from workers.offline.planning import Planner
from workers.offline.prompts import PromptPool
from workers.plans import Judgement, SamplePlan
from workers.sampler import SampledPrompt
from workers.trainers import Processes, Trainers
from workers.training_state import LostStateError
from workers.workshop import Workshop

KEPT_STATES = 2
FRUITLESS = 20
"""So many sampling jobs in a row without one usable label end an experiment."""


class Told:
    """Hears how far the work is; this one keeps it to itself."""

    def began(self, ledger: Ledger) -> None:
        """The work begins, or goes on from here."""

    def happened(self, ledger: Ledger) -> None:
        """An event was written down."""

    def said(self, sentence: str) -> None:
        """Something happened that a person should know."""

    def updated(self, update: int, stats: dict[str, float]) -> None:
        """A PPO update was made; it counts when its job has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What it takes to run one."""

    journal: Journal
    ledger: Ledger
    prompts: PromptPool
    workshop: Workshop
    team: Processes | None = None
    """Processes that train together; None: this one trains alone."""
    labeler: MockLabeler
    told: Told

    def run(self) -> None:
        """Go on until all episodes are done.

        Raises: ConflictError when nothing can be done any more, as when no sample ever ends in time.
        """
        while not self.ledger.finished:
            if not self._turn():
                raise ConflictError(
                    "Nothing is left to do, yet episodes are missing: the policy's samples do not end in time, or no "
                    "label has a clear best. Choose another terminator, longer responses or another judge."
                )

    def _turn(self) -> bool:
        """Whatever the loop says now, then the labels; False if that was nothing."""
        length = sum(self.ledger.steps.values())
        for action in loop.next_actions(self.ledger.state(), self.ledger.hparams):
            self._perform(action)
        self._label()
        return sum(self.ledger.steps.values()) > length and not self.ledger.fruitless(FRUITLESS)

    def _perform(self, action: loop.Action) -> None:
        match action:
            case loop.Start(kind=kind, args=args):
                JOBS[kind](self, args)
            case loop.Promote():
                self._note(events.Promoted())
            case loop.Hold(reason=reason):
                self._note(events.Held(reason=reason))
            case loop.Finish():
                self._note(events.Finished())

    def _import_model(self, args: "Args") -> None:  # noqa: ARG002
        setup = self.ledger.setup
        self._note(events.Imported(digest=self.workshop.prepare(setup.base_model, setup.hparams.task)))

    def _sample(self, args: "Args") -> None:
        plan, splits = self._planner.sample(int(args["count"]))
        sampled = self.workshop.write_comparisons(plan)
        judged = self.workshop.judge_sampled(plan, sampled)
        made = [
            events.Compared(
                prompt=plan.prompts[one.prompt].text,
                split=splits[one.prompt],
                policy=self.ledger.serving,
                promotion=self.ledger.promotions,
                reward_model=len(self.ledger.rewards) - 1 if plan.reward else None,
                samples=_drawn(one, judged.get(one.prompt)),
            )
            for one in sampled
        ]
        self._note(events.Sampled(comparisons=tuple(made), given_up=len(plan.prompts) - len(made)))

    def _score(self, args: "Args") -> None:  # noqa: ARG002
        planner, reward = self._planner, self._planner.reward()
        assert reward is not None, "the loop asks for scores only of a reward model"
        newest = len(self.ledger.rewards) - 1
        numbers = [number for number in self.ledger.open() if self.ledger.scored.get(number, -1) < newest]
        scores: dict[int, tuple[float, ...]] = {}
        for number in numbers:
            one = self.ledger.comparisons[number]
            texts = [(one.prompt, sample.tokens) for sample in one.samples]
            found = self.workshop.judge(planner.policy(None), reward, texts, self.ledger.hparams.task)
            scores[number] = tuple(judged.score for judged in found)
        self._note(events.Scored(reward_model=newest, scores=scores))

    def _showcase(self, args: "Args") -> None:
        policy = None if args["policy"] == named(None) else int(args["policy"])
        plan = self._planner.showcase(policy)
        self._note(events.Shown(policy=policy, samples=_shown(plan, self.workshop)))

    def _train_reward(self, args: "Args") -> None:  # noqa: ARG002
        plan, numbers = self._planner.training()
        digest, report = self._trainers.fit_reward(plan)
        self._note(events.Rewarded(digest=digest, labels=tuple(numbers), report=report))

    def _train_policy(self, args: "Args") -> None:
        plan = self._planner.ppo(int(args["updates"]))
        try:
            result = self._trainers.train_policy(plan, may_go_on=lambda: True, told=self.told.updated)
        except LostStateError as error:
            self._go_back(error)
            return
        assert result is not None, "the loop asks for at least one update"
        self._note(
            events.Trained(
                state_digest=result.state_digest,
                policy_digest=result.policy_digest,
                reward_model=len(self.ledger.rewards) - 1,
                update=result.update,
                kl_coef=result.kl_coef,
                stats=tuple(dict(one) for one in result.stats),
            )
        )
        states = [one.state_digest for one in self.ledger.trainings]
        self.workshop.delete(set(states[:-KEPT_STATES]) - set(states[-KEPT_STATES:]))

    def _go_back(self, lost: LostStateError) -> None:
        """Let PPO go on from the state before; its updates are made again.

        Raises: LostStateError if the state before is gone too.
        """
        states = [one.state_digest for one in self.ledger.trainings]
        if len(states) > 1 and states[-2] not in self.workshop.store.digests():
            raise lost
        self.workshop.delete(states[-1:])  # what is made again may be the same, and would be taken to be there
        self._note(events.Lost(reason=lost.fact))
        self.told.said(f"{lost.fact}; PPO goes on from the state before it, {self.ledger.episodes} episodes in.")

    def _label(self) -> None:
        answers = [self.labeler.answer(n, self.ledger.comparisons[n]) for n in self.ledger.open()]
        if answers:
            self._note(*answers)

    def _note(self, *happened: AnyEvent) -> None:
        self.journal.append(happened)
        for event in happened:
            self.ledger.apply(event)
            self.told.happened(self.ledger)

    @property
    def _trainers(self) -> Trainers:
        return Trainers(workshop=self.workshop, team=self.team)

    @property
    def _planner(self) -> Planner:
        return Planner(ledger=self.ledger, prompts=self.prompts)


Args = dict[str, int | str]
JOBS: dict[JobKind, Callable[[Experiment, Args], None]] = {
    JobKind.IMPORT_MODEL: Experiment._import_model,
    JobKind.SAMPLE: Experiment._sample,
    JobKind.SCORE: Experiment._score,
    JobKind.SHOWCASE: Experiment._showcase,
    JobKind.TRAIN_REWARD: Experiment._train_reward,
    JobKind.TRAIN_POLICY: Experiment._train_policy,
}


def _drawn(one: SampledPrompt, judged: Sequence[Judgement] | None) -> tuple[events.Drawn, ...]:
    found: Sequence[Judgement | None] = judged or [None] * len(one.draws)
    return tuple(
        events.Drawn(
            text=draw.text,
            tokens=tuple(draw.tokens[: draw.kept_tokens]),
            **({} if judgement is None else judgement._asdict()),
        )
        for draw, judgement in zip(one.draws, found, strict=True)
    )


def _shown(plan: SamplePlan, workshop: Workshop) -> tuple[tuple[str, str], ...]:
    draws = workshop.write_once(plan)
    return tuple((prompt.text, one[0].text) for prompt, one in zip(plan.prompts, draws, strict=True))
