"""The probe_reward job: which texts the newest reward model is held against."""

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from app import runs
from app.errors import ConflictError
from app.kinds import Question, Split, Verdict
from app.models import Comparison, Label, LabelAnswer, Prompt, Run, Sample, SamplePurpose
from app.usable import is_current
from workers.data.common import job_seed, policy_files, reward_files
from workers.fencing import Claim
from workers.plans import Edited, ProbePlan, StoredSample

SAMPLES = 256
PURPOSES = (SamplePurpose.COMPARISON, SamplePurpose.SHOWCASE)


def probe_plan(session: Session, claim: Claim) -> ProbePlan:
    """The newest valid samples, those of prompts that train nothing first, and the texts that people wrote as better.

    Raises: ConflictError without a reward model.
    """
    run = runs.get(session, claim.run_id)
    hparams, reward = runs.hparams_of(run), reward_files(session, run)
    if reward is None:
        raise ConflictError("This run has no reward model yet.")
    return ProbePlan(
        reference=policy_files(session, run, run.reference_id),
        reward=reward,
        task=hparams.task,
        samples=_samples(session, run),
        edited=_edited(session, run),
        seed=job_seed(hparams.seed, claim),
    )


def _samples(session: Session, run: Run) -> tuple[StoredSample, ...]:
    usable = (Sample.run_id == run.id, Sample.valid, Sample.purpose.in_(PURPOSES), Sample.kept_tokens > 0)
    rows = session.execute(
        select(Sample.id, Prompt.text, Sample.token_ids, Sample.kept_tokens)
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .where(*usable)
        .order_by(case((Prompt.split == Split.TRAIN, 1), else_=0), Sample.created_at.desc(), Sample.id)
        .limit(SAMPLES)
    )
    return tuple(StoredSample(id=id_, prompt=text, token_ids=tuple(ids[:kept])) for id_, text, ids, kept in rows)


def _edited(session: Session, run: Run) -> tuple[Edited, ...]:
    rows = session.execute(
        select(Prompt.text, LabelAnswer.text, Sample.token_ids, Sample.kept_tokens)
        .join(Label, Label.id == LabelAnswer.label_id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Sample, Sample.id == Label.chosen_sample_id)
        .where(
            Comparison.run_id == run.id,
            LabelAnswer.question == Question.BETTER,
            Label.verdict == Verdict.BEST,
            is_current(),
        )
        .order_by(Label.created_at.desc(), Label.id)
        .limit(SAMPLES)
    )
    found = [(prompt, text, ids[:kept]) for prompt, text, ids, kept in rows if text and text.strip()]
    return tuple(Edited(prompt=prompt, better=text, sample=tuple(ids)) for prompt, text, ids in found)
