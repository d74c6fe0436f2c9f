"""The contest job: two writers' samples of the same test prompts become comparisons for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import comparisons, contests, copying, runs
from app.contests import Side
from app.models import Contest, ContestItem, Prompt, Purpose, Run, Sample, SamplePurpose, Split
from workers import fencing
from workers.data.common import policy_files, reward_files
from workers.fencing import Claim
from workers.plans import PromptText, SamplePlan
from workers.sampler import SampledPrompt, SampleDraw


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestPlan:
    """What both sides write, for the same prompts."""

    contest_id: UUID
    sides: tuple[Side, Side]
    plans: tuple[SamplePlan, SamplePlan]
    """A side that writes nothing has the plan of the run's reference, for its tokenizer."""
    given: tuple[tuple[str, ...] | None, tuple[str, ...] | None]
    """Texts of a side that writes nothing, one for each prompt."""
    per_side: int


def contest_plan(session: Session, claim: Claim) -> ContestPlan:
    """Prompts of the test split in an order that the contest's seed draws."""
    contest = contests.get(session, UUID(str(claim.args["contest"])))
    run = runs.get(session, contest.run_id)
    sides = (contests.parsed(contest.left), contests.parsed(contest.right))
    prompts = _prompts(session, run, contest, texts=any(side.kind == "texts" for side in sides))
    return ContestPlan(
        contest_id=contest.id,
        sides=sides,
        plans=tuple(_plan(session, run, side, prompts, contest.seed + place) for place, side in enumerate(sides)),  # type: ignore[arg-type]
        given=(_given(sides[0], prompts), _given(sides[1], prompts)),
        per_side=contest.per_side,
    )


def record_contest(
    session: Session,
    claim: Claim,
    plan: ContestPlan,
    written: tuple[Sequence[SampledPrompt], Sequence[SampledPrompt]],
) -> None:
    """Comparisons of the prompts that both sides finished; ends the job."""
    contest = contests.get(session, plan.contest_id)
    run = runs.get(session, contest.run_id)
    right = {one.prompt: one for one in written[1]}
    made = 0
    for one in written[0]:
        if one.prompt in right:
            prompt = plan.plans[0].prompts[one.prompt]
            left_rows = [_row(run, plan.plans[0], prompt, draw) for draw in one.draws]
            right_rows = [_row(run, plan.plans[1], prompt, draw) for draw in right[one.prompt].draws]
            session.add_all([*left_rows, *right_rows])
            session.flush()
            comparison = comparisons.create(
                session,
                run=run,
                prompt_id=prompt.id,
                sample_ids=[row.id for row in (*left_rows, *right_rows)],
                policy_id=plan.plans[0].policy.checkpoint_id,
                purpose=Purpose.SESSION if contest.own_session else Purpose.EVALUATION,
                wanted=contest.labelers,
                samples=2 * plan.per_side,
            )
            left_samples = [row.id for row in left_rows]
            session.add(ContestItem(comparison_id=comparison.id, contest_id=contest.id, left_samples=left_samples))
            made += 1
    contest.written_at = session.scalar(select(func.clock_timestamp()))
    fencing.finish(session, claim, {"comparisons": made, "unfinished": contest.prompts - made})


def _prompts(session: Session, run: Run, contest: Contest, *, texts: bool) -> list[Prompt]:
    usable = (Prompt.prompt_set == runs.hparams_of(run).prompt_set, Prompt.split == Split.TEST)
    with_text = (Prompt.reference.is_not(None),) if texts else ()
    drawn = func.md5(func.concat(Prompt.digest, str(contest.seed)))
    return list(session.scalars(select(Prompt).where(*usable, *with_text).order_by(drawn).limit(contest.prompts)))


def _plan(session: Session, run: Run, side: Side, prompts: Sequence[Prompt], seed: int) -> SamplePlan:
    writer = UUID(side.checkpoint) if side.checkpoint else run.reference_id
    owner = run if side.checkpoint is None else _owner(session, UUID(side.checkpoint))
    return SamplePlan(
        policy=policy_files(session, owner, writer),
        reward=reward_files(session, run),
        task=runs.hparams_of(run).task,
        prompts=tuple(PromptText(id=one.id, text=one.text) for one in prompts),
        purposes=(),
        seed=seed,
    )


def _owner(session: Session, checkpoint_id: UUID) -> Run:
    return runs.get(session, runs.checkpoint(session, checkpoint_id).run_id)


def _given(side: Side, prompts: Sequence[Prompt]) -> tuple[str, ...] | None:
    if side.kind == "policy":
        return None
    return tuple((one.reference or "") if side.kind == "texts" else copying.lead(one.text) for one in prompts)


def _row(run: Run, plan: SamplePlan, prompt: PromptText, draw: SampleDraw) -> Sample:
    return Sample(
        run_id=run.id,
        prompt_id=prompt.id,
        policy_id=plan.policy.checkpoint_id,
        purpose=SamplePurpose.CONTEST,
        text=draw.text,
        token_ids=list(draw.tokens),
        logprobs=list(draw.logprobs),
        kept_tokens=draw.kept_tokens,
        valid=draw.valid,
        temperature=plan.task.temperature,
        seed=plan.seed,
    )
