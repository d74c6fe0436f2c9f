"""What each kind of job does: read its plan, compute with no transaction open, record.

A handler may be run again after a kill at any line: nothing counts before its record, and files are written before the
row that names them.
"""

from collections.abc import Callable
from functools import partial

import structlog

from app.kinds import JobKind
from app.orders import LabelOrder, PromptOrder
from workers import fencing
from workers.data import contests as contest_data
from workers.data import policy as policy_data
from workers.data import probes as probe_data
from workers.data import readings as reading_data
from workers.data import reference as reference_data
from workers.data import reward as reward_data
from workers.data import samples as sample_data
from workers.label_source import remapper
from workers.models import ensure_base_model
from workers.nets.tokenizer import load_tokenizer, token_ids
from workers.plans import Judgement, PPOPlan
from workers.queries import cutter
from workers.rlhf.guards import GuardError
from workers.training_state import LostStateError
from workers.transfers import Errand, labels_in, labels_out, models_out, prompts_in
from workers.work import Work

KEPT_STATES = 2
CARRY_SECONDS = 30.0
"""People's samples wait no longer for data that is carried."""

log = structlog.get_logger()


def import_model(work: Work) -> None:
    """Make sure that the base model is there and can do the task, and register it as the reference."""
    with work.transaction() as session:
        name, task = reference_data.asked(session, work.claim)
    digest = work.workshop.prepare(name, task)
    with work.transaction() as session:
        reference_data.record_reference(session, work.claim, digest)


def sample(work: Work) -> None:
    """Write comparisons for people with the serving policy, scored by the reward model of the moment.

    Before there is one, what the first will read is computed while people label.
    """
    with work.transaction() as session:
        plan = sample_data.sample_plan(session, work.claim)
    sampled = work.workshop.write_comparisons(plan)
    scores = work.workshop.judge_sampled(plan, sampled)
    with work.transaction() as session:
        sample_data.record_samples(session, work.claim, plan, sampled, scores)
        ahead = reward_data.ahead_plan(session, work.claim)
    if ahead is not None:
        work.afterwards.append(partial(work.workshop.read_ahead, ahead))


def score(work: Work) -> None:
    """Score open samples with the newest reward model."""
    with work.transaction() as session:
        plan = sample_data.score_plan(session, work.claim)
    scores: list[Judgement] = []
    if plan is not None and plan.samples:
        scores = work.workshop.judge(
            plan.policy, plan.reward, [(one.prompt, one.token_ids) for one in plan.samples], plan.task
        )
    with work.transaction() as session:
        if plan is not None:
            ids = [one.id for one in plan.samples]
            sample_data.record_scores(session, plan.reward, dict(zip(ids, scores, strict=True)))
        fencing.finish(session, work.claim, {"samples": len(scores)})


def showcase(work: Work) -> None:
    """Continue the run's fixed test prompts with one policy, and read what it wrote with the reference."""
    with work.transaction() as session:
        plan = sample_data.showcase_plan(session, work.claim)
    draws = work.workshop.write_once(plan)
    kept = [
        (prompt.text, draw.tokens[: draw.kept_tokens])
        for prompt, written in zip(plan.prompts, draws, strict=True)
        for draw in written
    ]
    readings = work.workshop.read(plan.policy, kept, plan.task)
    with work.transaction() as session:
        ids = sample_data.record_showcase(session, work.claim, plan, draws)
        reading_data.record_readings(session, dict(zip(ids, readings, strict=True)))


def read_samples(work: Work) -> None:
    """Find the KL of each token of samples, and their scores by the newest reward model."""
    with work.transaction() as session:
        plan = reading_data.reading_plan(session, work.claim)
    unread, unscored = ([(one.prompt, one.token_ids) for one in some] for some in (plan.unread, plan.unscored))
    readings = work.workshop.read(plan.reference, unread, plan.task)
    judged = work.workshop.judge(plan.reference, plan.reward, unscored, plan.task) if plan.reward and unscored else []
    with work.transaction() as session:
        reading_data.record_read(
            session,
            work.claim,
            plan,
            {one.id: reading for one, reading in zip(plan.unread, readings, strict=True)},
            {one.id: judgement for one, judgement in zip(plan.unscored, judged, strict=True)},
        )


def generate(work: Work) -> None:
    """Continue a prompt that a researcher typed."""
    with work.transaction() as session:
        plan = sample_data.generate_plan(session, work.claim)
    draws = work.workshop.write_once(plan, count=int(work.claim.args["count"]))
    with work.transaction() as session:
        sample_data.record_generated(session, work.claim, draws[0])


def contest(work: Work) -> None:
    """Let two writers answer the same test prompts, and put their answers to people."""
    with work.transaction() as session:
        plan = contest_data.contest_plan(session, work.claim)
    left, right = (
        work.workshop.write_best(asked, count=plan.per_side, best_of=side.best_of)
        if texts is None
        else work.workshop.read_texts(asked, texts)
        for side, asked, texts in zip(plan.sides, plan.plans, plan.given, strict=True)
    )
    with work.transaction() as session:
        contest_data.record_contest(session, work.claim, plan, (left, right))


def train_reward(work: Work) -> None:
    """Fit a reward model to all usable labels, from the reference."""
    with work.transaction() as session:
        plan = reward_data.reward_plan(session, work.claim)
    digest, report = work.trainers.fit_reward(plan)
    with work.transaction() as session:
        reward_data.record_reward_model(session, work.claim, plan, digest, report)


def leave_out(work: Work) -> None:
    """See what reward models would be without one labeler's labels."""
    with work.transaction() as session:
        plan = reward_data.leave_out_plan(session, work.claim)
    found = work.workshop.leave_out(plan)
    with work.transaction() as session:
        fencing.finish(session, work.claim, found)


def probe_reward(work: Work) -> None:
    """Hold the newest reward model against changed texts whose order is known."""
    with work.transaction() as session:
        plan = probe_data.probe_plan(session, work.claim)
    found = work.workshop.probe(plan)
    with work.transaction() as session:
        fencing.finish(session, work.claim, {"reward_model": str(plan.reward.checkpoint_id), "probes": found})


def train_policy(work: Work) -> None:
    """PPO updates for about a minute; publish a policy when one is due."""
    with work.transaction() as session:
        plan = policy_data.ppo_plan(session, work.claim)

    def may_go_on() -> bool:
        """Until a pause, the cord or the worker's end."""
        if work.should_stop():
            return False
        with work.transaction() as session:
            return policy_data.may_go_on(session, work.claim)

    try:
        result = work.trainers.train_policy(plan, may_go_on=may_go_on)
    except LostStateError as error:
        _go_back(work, plan, error)
        return
    except GuardError as error:
        _stop_line(work, error)
        return
    if result is None:
        _leave(work)
        return
    with work.transaction() as session:
        policy_data.record_ppo(session, work.claim, plan, result)
        outdated = policy_data.outdated_states(session, work.claim.run_id, keep=KEPT_STATES)
    work.workshop.delete(outdated)


def cut_prompts(work: Work) -> None:
    """Import prompts that are cut out of longer texts."""
    order = PromptOrder.model_validate(work.claim.args["order"])
    assert order.cut is not None, "an order without a cut is no job of the trainer"
    tokenizer = load_tokenizer(ensure_base_model(order.cut.model, work.workshop.home))
    prompts_in.import_prompts(errand_of(work), cutter(tokenizer, order.cut.task), seconds=CARRY_SECONDS)


def import_labels(work: Work) -> None:
    """Import labels in the tokens of the run's base model."""
    order = LabelOrder.model_validate(work.claim.args["order"])
    with work.transaction() as session:
        name, _ = reference_data.asked(session, work.claim)
    home = work.workshop.home
    labels_in.import_labels(errand_of(work), remapper(name, order.tokenizer, home), seconds=CARRY_SECONDS)


def export_ids(work: Work) -> None:
    """Export labels as token ids of the run's base model."""
    with work.transaction() as session:
        name, _ = reference_data.asked(session, work.claim)
    tokenizer = load_tokenizer(ensure_base_model(name, work.workshop.home))
    labels_out.export_labels(errand_of(work), lambda text: token_ids(tokenizer, text))


def export_model(work: Work) -> None:
    """Write a policy or reward model as a Hugging Face folder, and push it where that was asked."""
    models_out.export_model(errand_of(work), work.workshop)


def errand_of(work: Work) -> Errand:
    """The same job, for a handler that carries data."""
    return Errand(claim=work.claim, factory=work.factory, home=work.workshop.home, should_stop=work.should_stop)


HANDLERS: dict[JobKind, Callable[[Work], None]] = {
    JobKind.IMPORT_MODEL: import_model,
    JobKind.SAMPLE: sample,
    JobKind.SCORE: score,
    JobKind.SHOWCASE: showcase,
    JobKind.GENERATE: generate,
    JobKind.READ_SAMPLES: read_samples,
    JobKind.CONTEST: contest,
    JobKind.LEAVE_OUT: leave_out,
    JobKind.PROBE_REWARD: probe_reward,
    JobKind.TRAIN_REWARD: train_reward,
    JobKind.TRAIN_POLICY: train_policy,
    JobKind.CUT_PROMPTS: cut_prompts,
    JobKind.IMPORT_LABELS: import_labels,
    JobKind.EXPORT_IDS: export_ids,
    JobKind.EXPORT_MODEL: export_model,
}


def _leave(work: Work) -> None:
    """End a job that may not start an update: for another worker if this one is stopping, else for good."""
    with work.transaction() as session:
        if work.should_stop():
            fencing.give_back(session, work.claim)
        else:  # paused or the cord is pulled: the loop starts another job once it may
            fencing.finish(session, work.claim, {"updates": 0})


def _go_back(work: Work, plan: PPOPlan, lost: LostStateError) -> None:
    """Let PPO go on from the state before, if that one is there; else the job fails and says which file is broken."""
    assert plan.state_digest is not None, "a state that was never there is not lost"
    with work.transaction() as session:
        before = policy_data.state_before(session, work.claim.run_id)
    if before is not None and before not in work.workshop.store.digests():
        raise lost
    log.error("training_state_lost", run=str(work.claim.run_id), reason=lost.fact)
    work.workshop.delete([plan.state_digest])  # what is made again may be the same, and would be taken to be there
    with work.transaction() as session:
        policy_data.go_back(session, work.claim, lost.fact)


def _stop_line(work: Work, error: GuardError) -> None:
    """Pull the cord, for the same update would end the same way; the last saved state stays."""
    work.trainers.forget()  # its weights are half trained
    log.error("guard_broken", run=str(work.claim.run_id), reason=str(error))
    with work.transaction() as session:
        policy_data.record_guard(session, work.claim, str(error))
