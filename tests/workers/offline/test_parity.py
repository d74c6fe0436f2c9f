"""The folder and the tables, told the same events, see the same state and want the same next."""

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import labeling
from app.hparams import RunHParams
from app.kinds import JobKind, Split, Verdict
from app.models import Account, Assignment, Comparison, ComparisonSample, Prompt, Purpose, Run
from app.texts import digest_of
from tests.factories import make_account
from tests.workers.offline.small import run_small, small_hparams, small_setup
from tests.workers.offline.test_experiment import journal_of
from workers import fencing, loop, plan
from workers.data import policy as policy_data
from workers.data import reference as reference_data
from workers.data import reward as reward_data
from workers.data import samples as sample_data
from workers.fencing import Claim
from workers.loop import RunState
from workers.offline import events
from workers.offline.experiment import Told
from workers.offline.ledger import Ledger, named
from workers.plans import Judgement, PolicyFiles, PPOResult, PromptText, RewardFiles, SamplePlan
from workers.sampler import SampledPrompt, SampleDraw


class Tables:
    """A run in the database that events are told to, through the functions that real jobs call."""

    def __init__(self, session: Session, hparams: RunHParams) -> None:
        self.session = session
        self.hparams = hparams
        self.run = Run(name="same", base_model="tiny", hparams=hparams.model_dump(mode="json"))
        session.add(self.run)
        self.labeler: Account = make_account(session)
        self.comparisons: list[Comparison] = []
        self.policies: list[UUID] = []

    def state(self) -> RunState:
        """As `workers.plan` reads it, policies by number."""
        self.session.flush()
        state = plan.read_state(self.session, self.run)
        return replace(state, not_shown=self._named(state.not_shown))

    def told(self, event: events.AnyEvent) -> None:
        """Write an event into the tables."""
        match event:
            case events.Imported(digest=digest):
                reference_data.record_reference(self.session, self._claim(JobKind.IMPORT_MODEL), digest)
            case events.Sampled():
                self._sampled(event)
            case events.Labeled():
                self._labeled(event)
            case events.Rewarded(digest=digest, report=report):
                claim = self._claim(JobKind.TRAIN_REWARD)
                made = reward_data.reward_plan(self.session, claim)
                assert len(made.train) == len(event.labels)
                reward_data.record_reward_model(self.session, claim, made, digest, report)
            case events.Trained():
                self._trained(event)
            case events.Promoted():
                plan.apply(self.session, self.run, loop.Promote())
            case events.Held(reason=reason):
                plan.apply(self.session, self.run, loop.Hold(reason=reason))
            case events.Shown(policy=policy):
                claim = self._claim(JobKind.SHOWCASE, policy=str(self._policy(policy)))
                made_shown = sample_data.showcase_plan(self.session, claim)
                made_shown = replace(made_shown, prompts=self._texts([one for one, _ in event.samples]))
                draws = [[draw_of(text, (1,))] for _, text in event.samples]
                sample_data.record_showcase(self.session, claim, made_shown, draws)
            case events.Finished():
                plan.apply(self.session, self.run, loop.Finish())
            case _:
                raise AssertionError(event)

    def _claim(self, kind: JobKind, **args: int | str) -> Claim:
        job = plan.start_job(self.session, self.run.id, kind, dict(args))
        claim = fencing.claim(self.session, job.id, worker="test", stale_seconds=30)
        assert claim is not None
        return claim

    def _sampled(self, event: events.Sampled) -> None:
        claim = self._claim(JobKind.SAMPLE, count=len(event.comparisons))
        asked = SamplePlan(
            policy=PolicyFiles(
                checkpoint_id=self.run.serving_id or UUID(int=0), base_model="tiny", reference_digest="", digest=None
            ),
            reward=self._reward(),
            task=self.hparams.task,
            prompts=self._texts([one.prompt for one in event.comparisons]),
            purposes=tuple(PURPOSES[one.split] for one in event.comparisons),
            seed=0,
        )
        sampled = [
            SampledPrompt(prompt=i, draws=[draw_of(s.text, s.tokens) for s in one.samples], rejected=0)
            for i, one in enumerate(event.comparisons)
        ]
        scores = {i: [Judgement(s.score or 0.0, None) for s in one.samples] for i, one in enumerate(event.comparisons)}
        known = {one.id for one in self.comparisons}
        sample_data.record_samples(self.session, claim, asked, sampled, scores)
        by_prompt = {one.prompt_id: one for one in self.session.scalars(select(Comparison)) if one.id not in known}
        self.comparisons += [by_prompt[prompt.id] for prompt in asked.prompts]

    def _labeled(self, event: events.Labeled) -> None:
        comparison = self.comparisons[event.comparison]
        of_it = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == comparison.id)
        shown = list(self.session.scalars(of_it.order_by(ComparisonSample.slot)))
        self.session.add(
            Assignment(
                comparison_id=comparison.id,
                labeler_id=self.labeler.id,
                shown=shown,
                expires_at=func.clock_timestamp(),
            )
        )
        comparison.leased += 1
        self.session.flush()
        choice = shown[event.best] if event.best is not None else None
        labeling.record(
            self.session,
            self.labeler.id,
            comparison.id,
            verdict=Verdict(event.verdict),
            choice=choice,
            key=str(comparison.id),
        )

    def _trained(self, event: events.Trained) -> None:
        claim = self._claim(JobKind.TRAIN_POLICY, updates=len(event.stats))
        result = PPOResult(
            state_digest=event.state_digest,
            policy_digest=event.policy_digest,
            update=event.update,
            kl_coef=event.kl_coef,
            stats=event.stats,
        )
        policy_data.record_ppo(self.session, claim, policy_data.ppo_plan(self.session, claim), result)
        if event.policy_digest is not None:
            assert self.run.candidate_id is not None
            self.policies.append(self.run.candidate_id)

    def _texts(self, texts: list[str]) -> tuple[PromptText, ...]:
        return tuple(PromptText(id=self._prompt(text), text=text) for text in texts)

    def _prompt(self, text: str) -> UUID:
        digest = digest_of(text)
        return self.session.scalars(select(Prompt.id).where(Prompt.digest == digest)).one()

    def _reward(self) -> RewardFiles | None:
        return RewardFiles(checkpoint_id=self.run.reward_model_id, digest="") if self.run.reward_model_id else None

    def _policy(self, number: int | None) -> UUID | None:
        return self.run.reference_id if number is None else self.policies[number]

    def _named(self, checkpoint: str | None) -> str | None:
        names = {str(self.run.reference_id): named(None)} | {str(p): str(n) for n, p in enumerate(self.policies)}
        return None if checkpoint is None else names[checkpoint]


JUDGE = "tests.workers.offline.small:happy_words"
"""Most of its answers are ties."""
PURPOSES = {Split.TRAIN: Purpose.TRAIN, Split.VALID: Purpose.EVALUATION}


def draw_of(text: str, tokens: tuple[int, ...]) -> SampleDraw:
    return SampleDraw(tokens=list(tokens), logprobs=[0.0] * len(tokens), kept_tokens=len(tokens), valid=True, text=text)


class Left(BaseException):
    """Nothing is measured: that is no part of the loop."""


class LeavesAtTheEnd(Told):
    """Goes when all episodes are done."""

    def happened(self, ledger: Ledger) -> None:
        if ledger.finished:
            raise Left


SCHEDULES = {
    "online": small_hparams(),
    "batched": small_hparams(kind="batched", reward_trainings=3),
    "offline": small_hparams(kind="offline", initial_labels=24, total_labels=24, reward_trainings=1),
}


@pytest.fixture(scope="module", params=SCHEDULES)
def happened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[events.AnyEvent]:
    """The journal of a whole experiment of each kind; some of its answers are ties, which train here."""
    folder, hparams = tmp_path_factory.mktemp("parity"), SCHEDULES[request.param]
    even = hparams.model_copy(update={"reward": hparams.reward.model_copy(update={"tie_labels": "even"})})
    with pytest.raises(Left):
        run_small(folder / "out", replace(small_setup(folder / "model", even), labeler=JUDGE), told=LeavesAtTheEnd())
    return journal_of(folder / "out")


def test_the_same_events_lead_to_the_same_actions(session: Session, happened: list[events.AnyEvent]) -> None:
    ledger = Ledger.of(happened[:1])
    tables = Tables(session, ledger.hparams)
    for event in happened:
        if isinstance(event, events.Sampled):
            for one in event.comparisons:
                add_prompt(session, one.prompt, one.split)
        if isinstance(event, events.Shown):
            for prompt, _ in event.samples:
                add_prompt(session, prompt, Split.TEST)
    seen: set[str] = set()
    for event in happened[1:]:
        kept = ledger.state()  # the tables count no more than is asked for
        counted = min(kept.open_training, loop.open_wanted(kept, ledger.hparams))
        assert tables.state() == replace(kept, open_training=counted)
        wanted = loop.next_actions(tables.state(), ledger.hparams)
        assert wanted == loop.next_actions(ledger.state(), ledger.hparams)
        tables.told(event)
        ledger.apply(event)
        seen.add(event.kind)
    assert {"sampled", "labeled", "rewarded", "trained", "promoted", "shown", "finished"} <= seen
    assert {label.verdict for label in ledger.labels.values()} == {Verdict.BEST, Verdict.TIE}


def add_prompt(session: Session, text: str, split: Split) -> None:
    digest = digest_of(text)
    if session.scalar(select(Prompt.id).where(Prompt.digest == digest)) is None:
        session.add(Prompt(prompt_set="stories", text=text, digest=digest, split=split))
        session.flush()
