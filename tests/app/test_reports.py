"""Reports against rows made by hand and slow, obvious oracles."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import andon, reports, runs
from app.errors import NotFoundError
from app.kinds import JobKind
from app.models import (
    Account,
    Andon,
    Assignment,
    AssignmentState,
    Audit,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Job,
    JobState,
    Label,
    LabelSet,
    LabelSetItem,
    Metric,
    Prompt,
    Run,
    SamplePurpose,
    SampleScore,
    Split,
    Verdict,
)
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run, make_sample


@pytest.fixture
def run(session: Session) -> Run:
    return make_run(session)


@pytest.fixture
def labeler(session: Session) -> Account:
    return make_account(session)


def sample_ids(session: Session, comparison: Comparison) -> list[UUID]:
    members = session.query(ComparisonSample).filter_by(comparison_id=comparison.id).order_by(ComparisonSample.slot)
    return [member.sample_id for member in members]


def give_label(
    session: Session,
    comparison: Comparison,
    labeler: Account,
    slot: int | None = 0,
    *,
    at: datetime | None = None,
    revision: int = 1,
    verdict: Verdict = Verdict.BEST,
) -> Label:
    shown = sample_ids(session, comparison)
    lent = Assignment(
        comparison_id=comparison.id,
        labeler_id=labeler.id,
        state=AssignmentState.ANSWERED,
        shown=shown,
        expires_at=session.scalar(text("select clock_timestamp()")),
    )
    session.add(lent)
    session.flush()
    label = Label(
        comparison_id=comparison.id,
        labeler_id=labeler.id,
        assignment_id=lent.id,
        revision=revision,
        verdict=verdict,
        chosen_sample_id=shown[slot] if slot is not None and verdict == Verdict.BEST else None,
        idempotency_key=str(uuid4()),
    )
    if at is not None:
        label.created_at = at
    session.add(label)
    comparison.state = ComparisonState.LABELED
    session.flush()
    return label


def fit_reward_model(session: Session, run: Run, labels: list[Label], number: int = 0) -> Checkpoint:
    label_set = LabelSet(run_id=run.id, size=len(labels))
    session.add(label_set)
    session.flush()
    session.add_all(LabelSetItem(label_set_id=label_set.id, label_id=label.id) for label in labels)
    return make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, number=number, label_set_id=label_set.id)


def give_scores(session: Session, model: Checkpoint, comparison: Comparison, scores: list[float]) -> None:
    for sample_id, score in zip(sample_ids(session, comparison), scores, strict=False):
        session.add(SampleScore(sample_id=sample_id, reward_model_id=model.id, score=score))
    session.flush()


def record(session: Session, run: Run, name: str, values: dict[int, float]) -> None:
    session.add_all(Metric(run_id=run.id, name=name, step=step, value=value) for step, value in values.items())
    session.flush()


class TestIncomingAccuracy:
    def test_no_labels_tell_nothing(self, session: Session, run: Run) -> None:
        found = reports.incoming_accuracy(session, run.id)
        assert (found.right, found.n, found.low, found.high, found.value) == (0, 0, 0, 1, None)

    def test_counts_where_the_highest_score_was_chosen(self, session: Session, run: Run, labeler: Account) -> None:
        model = fit_reward_model(session, run, [])
        for slot in (2, 2, 1):
            comparison = make_comparison(session, run)
            give_scores(session, model, comparison, [0.1, -1.0, 3.0, 0.5])
            give_label(session, comparison, labeler, slot)
        found = reports.incoming_accuracy(session, run.id)
        assert (found.right, found.n) == (2, 3)
        assert found.low < 2 / 3 < found.high

    def test_a_score_after_the_label_is_no_test(self, session: Session, run: Run, labeler: Account) -> None:
        comparison = make_comparison(session, run)
        give_label(session, comparison, labeler)
        give_scores(session, fit_reward_model(session, run, []), comparison, [1, 0, 0, 0])
        assert reports.incoming_accuracy(session, run.id).n == 0

    def test_a_model_that_saw_the_prompt_is_not_tested(self, session: Session, run: Run, labeler: Account) -> None:
        prompt = make_prompt(session)
        seen = give_label(session, make_comparison(session, run, prompt=prompt), labeler)
        again = make_comparison(session, run, prompt=prompt)
        give_scores(session, fit_reward_model(session, run, [seen]), again, [1, 0, 0, 0])
        give_label(session, again, labeler)
        assert reports.incoming_accuracy(session, run.id).n == 0

    def test_tests_the_newest_fair_model(self, session: Session, run: Run, labeler: Account) -> None:
        prompt = make_prompt(session)
        seen = give_label(session, make_comparison(session, run, prompt=prompt), labeler)
        older, fair, leaking = (
            fit_reward_model(session, run, labels, number) for number, labels in enumerate(([], [], [seen]))
        )
        comparison = make_comparison(session, run, prompt=prompt)
        give_scores(session, older, comparison, [0, 1, 0, 0])
        give_scores(session, fair, comparison, [1, 0, 0, 0])
        give_scores(session, leaking, comparison, [0, 1, 0, 0])
        give_label(session, comparison, labeler, 0)
        found = reports.incoming_accuracy(session, run.id)
        assert (found.right, found.n) == (1, 1)

    def test_all_samples_must_be_scored(self, session: Session, run: Run, labeler: Account) -> None:
        comparison = make_comparison(session, run)
        give_scores(session, fit_reward_model(session, run, []), comparison, [1, 0, 0])
        give_label(session, comparison, labeler)
        assert reports.incoming_accuracy(session, run.id).n == 0

    def test_only_the_newest_labels_count(self, session: Session, run: Run, labeler: Account) -> None:
        model = fit_reward_model(session, run, [])
        for slot in (0, 1, 1):
            comparison = make_comparison(session, run)
            give_scores(session, model, comparison, [0, 1, 0, 0])
            give_label(session, comparison, labeler, slot)
        found = reports.incoming_accuracy(session, run.id, last=2)
        assert (found.right, found.n) == (2, 2)

    def test_a_model_without_an_opinion_gets_about_chance(self, session: Session, run: Run, labeler: Account) -> None:
        model = fit_reward_model(session, run, [])
        for _ in range(60):
            comparison = make_comparison(session, run)
            give_scores(session, model, comparison, [0, 0, 0, 0])
            give_label(session, comparison, labeler, 0)
        found = reports.incoming_accuracy(session, run.id)
        assert 1 <= found.right <= 33  # below one in a million otherwise

    def test_labels_taken_back_count_no_more(self, session: Session, run: Run, labeler: Account) -> None:
        comparison = make_comparison(session, run)
        give_scores(session, fit_reward_model(session, run, []), comparison, [1, 0, 0, 0])
        give_label(session, comparison, labeler)
        give_label(session, comparison, labeler, revision=2, verdict=Verdict.UNDONE)
        assert reports.incoming_accuracy(session, run.id).n == 0


class TestMetrics:
    def test_short_series_come_whole_in_the_order_asked(self, session: Session, run: Run) -> None:
        record(session, run, "objective/kl", {32: 0.5, 64: 1.0})
        record(session, run, "objective/score", {32: -1.0})
        found = reports.metrics(session, run.id, ["objective/score", "nothing", "objective/kl"])
        assert [series.name for series in found] == ["objective/score", "nothing", "objective/kl"]
        assert [[(p.step, p.value) for p in series.points] for series in found] == [
            [(32, -1.0)],
            [],
            [(32, 0.5), (64, 1.0)],
        ]

    def test_long_series_keep_extremes_and_ends(self, session: Session, run: Run) -> None:
        values = {step: float((step * 7919) % 1009) for step in range(3, 3000, 3)}
        values[1500], values[2100] = 1e6, -1e6
        record(session, run, "objective/score", values)
        (series,) = reports.metrics(session, run.id, ["objective/score"], points=50)
        kept = {point.step: point.value for point in series.points}
        assert len(kept) <= 50
        assert kept.items() <= values.items()
        assert {3, 1500, 2100, 2997} <= kept.keys()
        assert list(kept) == sorted(kept)

    def test_every_stretch_keeps_its_smallest_and_largest(self, session: Session, run: Run) -> None:
        values = {step: float((step * 31) % 97) for step in range(100)}
        record(session, run, "objective/score", values)
        (series,) = reports.metrics(session, run.id, ["objective/score"], points=22)
        kept = {point.step for point in series.points}
        for start in range(0, 100, 10):
            stretch = range(start, start + 10)
            assert any(values[step] == max(values[s] for s in stretch) for step in kept.intersection(stretch))
            assert any(values[step] == min(values[s] for s in stretch) for step in kept.intersection(stretch))

    def test_steps_of_a_long_run_do_not_overflow(self, session: Session, run: Run) -> None:
        record(session, run, "objective/score", {step * 10_000_000: float(step) for step in range(200)})
        (series,) = reports.metrics(session, run.id, ["objective/score"], points=100)
        assert series.points[-1].step == 1_990_000_000

    def test_after_gives_only_what_is_new(self, session: Session, run: Run) -> None:
        record(session, run, "objective/kl", {32: 0.5, 64: 1.0, 96: 2.0})
        record(session, run, "objective/score", {32: 0.5})
        found = reports.metrics(session, run.id, ["objective/kl", "objective/score"], after={"objective/kl": 64})
        assert [[p.step for p in series.points] for series in found] == [[96], [32]]

    def test_last_steps_of_what_is_there(self, session: Session, run: Run) -> None:
        record(session, run, "objective/kl", {32: 0.5, 64: 1.0})
        assert reports.last_steps(session, run.id, ["objective/kl", "nothing"]) == {"objective/kl": 64}


class TestLabelsOverTime:
    def test_counts_up_to_all_training_labels(self, session: Session, run: Run, labeler: Account) -> None:
        for seconds in (5, 6, 4000):
            label_at = run.created_at + timedelta(seconds=seconds)
            give_label(session, make_comparison(session, run), labeler, at=label_at)
        valid = make_comparison(session, run, prompt=make_prompt(session, split=Split.VALID))
        give_label(session, valid, labeler)
        found = reports.labels_over_time(session, run, points=100)
        assert [(point.step, point.value) for point in found.points] == [(40, 2.0), (4000, 3.0)]

    def test_a_run_without_labels_has_no_curve(self, session: Session, run: Run) -> None:
        assert reports.labels_over_time(session, run).points == ()


class TestRunSummary:
    def test_unknown_run(self, session: Session) -> None:
        with pytest.raises(NotFoundError):
            reports.run_summary(session, uuid4())

    def test_counts_what_people_hold_and_what_waits(self, session: Session, run: Run, labeler: Account) -> None:
        held, expired, _free = (make_comparison(session, run) for _ in range(3))
        give_label(session, make_comparison(session, run), labeler)
        for comparison, seconds in ((held, 600), (expired, -1)):
            until = session.scalar(text(f"select clock_timestamp() + interval '{seconds} seconds'"))
            shown = sample_ids(session, comparison)
            session.add(Assignment(comparison_id=comparison.id, labeler_id=labeler.id, shown=shown, expires_at=until))
        session.flush()
        found = reports.run_summary(session, run.id)
        assert (found.ready, found.leased) == (2, 1)
        assert (found.active_labelers, found.labels_per_minute) == (1, 0.2)
        assert (found.labels_total, found.episodes_total, found.preset) == (600, 4000, "sentiment-small")

    def test_labelers_of_another_run_or_of_yesterday_are_not_active(
        self, session: Session, run: Run, labeler: Account
    ) -> None:
        other = make_run(session)
        give_label(session, make_comparison(session, other), labeler)
        yesterday = session.scalar(text("select clock_timestamp() - interval '1 day'"))
        give_label(session, make_comparison(session, run), make_account(session), at=yesterday)
        found = reports.run_summary(session, run.id)
        assert (found.active_labelers, found.labels_per_minute) == (0, 0)

    def test_names_jobs_failures_andon_and_checkpoints(self, session: Session, run: Run, labeler: Account) -> None:
        session.add_all(
            [
                Job(run_id=run.id, kind=JobKind.TRAIN_POLICY, step=1, state=JobState.RUNNING, error="no memory"),
                Job(run_id=run.id, kind=JobKind.SAMPLE, step=0, state=JobState.DONE),
                Job(run_id=run.id, kind=JobKind.SCORE, step=4, state=JobState.FAILED, error="disk full", failures=3),
                Andon(run_id=run.id, pulled_by_id=labeler.id, reason="it swears"),
            ]
        )
        session.flush()
        found = reports.run_summary(session, run.id)
        assert [(job.kind, job.step, job.error) for job in found.jobs] == [(JobKind.TRAIN_POLICY, 1, "no memory")]
        assert [(job.kind, job.error, job.failures) for job in found.failed] == [(JobKind.SCORE, "disk full", 3)]
        assert found.andon is not None
        assert (found.andon.reason, found.andon.pulled_by) == ("it swears", "Ada")
        assert found.checkpoints.serving == found.checkpoints.reference
        assert found.checkpoints.reward_model is None

    def test_is_equal_while_nothing_happens(self, session: Session, run: Run) -> None:
        session.add(Job(run_id=run.id, kind=JobKind.TRAIN_POLICY, step=1, state=JobState.RUNNING))
        session.flush()
        assert reports.run_summary(session, run.id) == reports.run_summary(session, run.id)


class TestShowcase:
    def write(self, session: Session, run: Run, prompt: Prompt, policy: Checkpoint, words: str) -> None:
        sample = make_sample(session, run, prompt, text=words, policy=policy)
        sample.purpose = SamplePurpose.SHOWCASE
        session.flush()

    def test_newest_policies_first_reference_last(self, session: Session, run: Run) -> None:
        reference = session.get_one(Checkpoint, run.reference_id)
        prompts = [make_prompt(session, split=Split.TEST) for _ in range(2)]
        policies = [make_checkpoint(session, run, number=number) for number in range(3)]
        silent = make_checkpoint(session, run, number=3)
        for policy in (reference, *policies):
            self.write(session, run, prompts[0], policy, f"{policy.kind} {policy.number}")
        self.write(session, run, prompts[1], policies[2], "later")
        found = reports.showcase(session, run.id, policies=2)
        assert [policy.id for policy in found.policies] == [policies[2].id, policies[1].id, reference.id]
        assert silent.id not in {policy.id for policy in found.policies}
        first, second = found.prompts
        assert first.id == prompts[0].id
        assert {p: sample.text for p, sample in first.samples.items()} == {
            policies[2].id: "policy 2",
            policies[1].id: "policy 1",
            reference.id: "reference 0",
        }
        assert second.samples.keys() == {policies[2].id}

    def test_samples_for_people_are_not_shown(self, session: Session, run: Run) -> None:
        make_comparison(session, run)
        found = reports.showcase(session, run.id)
        assert found == reports.Showcase(policies=(), prompts=())


class TestCheckpoints:
    def family(self, session: Session, run: Run, labeler: Account) -> tuple[Checkpoint, Checkpoint]:
        label = give_label(session, make_comparison(session, run), labeler)
        model = fit_reward_model(session, run, [label], number=2)
        parent = make_checkpoint(session, run, number=1, parent_id=run.reference_id, episodes=32)
        policy = make_checkpoint(
            session, run, number=2, parent_id=parent.id, reward_model_id=model.id, episodes=70, kl_coef=0.2
        )
        record(session, run, "objective/kl", {32: 0.5, 64: 1.5, 96: 9.0})
        run.serving_id, run.reward_model_id = policy.id, model.id
        session.flush()
        return policy, parent

    def test_names_makers_and_uses(self, session: Session, run: Run, labeler: Account) -> None:
        policy, _ = self.family(session, run, labeler)
        found = {(report.kind, report.number): report for report in reports.checkpoints(session, run.id)}
        latest = found[CheckpointKind.POLICY, 2]
        assert latest.id == policy.id
        assert (latest.parent_number, latest.reward_model_number, latest.labels) == (1, 2, 1)
        assert (latest.kl, latest.kl_coef, latest.roles) == (1.5, 0.2, ("serving",))
        model = found[CheckpointKind.REWARD_MODEL, 2]
        assert (model.labels, model.kl, model.roles) == (1, None, ("reward model",))

    def test_a_run_sees_its_own_only(self, session: Session, run: Run, labeler: Account) -> None:
        self.family(session, run, labeler)
        assert len(reports.checkpoints(session, make_run(session).id)) == 1
        assert len(reports.checkpoints(session, run.id, kinds=(CheckpointKind.POLICY,))) == 2

    def test_lineage_walks_back_to_the_reference(self, session: Session, run: Run, labeler: Account) -> None:
        policy, parent = self.family(session, run, labeler)
        found = reports.lineage(session, policy.id)
        assert found.checkpoint.id == policy.id
        assert [ancestor.id for ancestor in found.ancestors] == [parent.id, run.reference_id]

    def test_lineage_of_nothing(self, session: Session) -> None:
        with pytest.raises(NotFoundError):
            reports.lineage(session, uuid4())


def test_events_mark_reward_models_and_promotions(session: Session, run: Run, labeler: Account) -> None:
    label = give_label(session, make_comparison(session, run), labeler)
    fit_reward_model(session, run, [label], number=4)
    policy = make_checkpoint(session, run, number=7, episodes=320)
    make_checkpoint(session, run, number=8, episodes=640)
    session.add(Audit(run_id=run.id, action="policy.promoted", detail={"policy": str(policy.id)}))
    session.flush()
    found = [(event.kind, event.number, event.episodes, event.labels) for event in reports.events(session, run.id)]
    assert found == [
        (reports.EventKind.REWARD_MODEL, 4, 0, 1),
        (reports.EventKind.PROMOTION, 7, 320, None),
    ]


def test_events_mark_pulls_demotions_and_ways_back(session: Session, run: Run, labeler: Account) -> None:
    policy = make_checkpoint(session, run, number=7, episodes=320)
    andon.pull(session, run.id, labeler.id, "it swears")
    session.add(Audit(run_id=run.id, action="policy.demoted", detail={"policy": str(policy.id), "reason": "it lost"}))
    session.flush()
    run.episodes = 640
    runs.roll_back(session, run.id, policy.id, None, "worse")
    found = [(event.kind, event.number, event.episodes, event.text) for event in reports.events(session, run.id)]
    assert found == [
        (reports.EventKind.ANDON, 1, 320, "it swears"),
        (reports.EventKind.DEMOTION, 7, 320, "it lost"),
        (reports.EventKind.ROLL_BACK, 7, 640, "worse"),
    ]
