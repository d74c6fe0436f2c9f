"""Rows for tests: the smallest that the database accepts, flushed so that they have ids."""

import hashlib
import itertools
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from app.hparams import PRESETS
from app.models import (
    Account,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    Prompt,
    Purpose,
    Role,
    Run,
    Sample,
    SamplePurpose,
    Split,
)

Row = TypeVar("Row")
_numbers = itertools.count()


def make_account(session: Session, name: str = "Ada", role: Role = Role.LABELER) -> Account:
    """A person."""
    return _flushed(session, Account(name=name, role=role))


def make_run(session: Session, *, preset: str = "sentiment-small", **fields: Any) -> Run:
    """A running run of a preset, served by its reference policy."""
    hparams = PRESETS[preset].model_dump(mode="json")
    run = _flushed(session, Run(**{"name": "stories", "base_model": "tiny", "hparams": hparams} | fields))
    reference = make_checkpoint(session, run, kind=CheckpointKind.REFERENCE)
    run.reference_id = run.serving_id = reference.id
    session.flush()
    return run


def make_checkpoint(
    session: Session, run: Run, *, kind: CheckpointKind = CheckpointKind.POLICY, number: int = 0, **fields: Any
) -> Checkpoint:
    """A checkpoint without files."""
    values = {"run_id": run.id, "kind": kind, "number": number, "digest": f"digest-{next(_numbers)}"} | fields
    return _flushed(session, Checkpoint(**values))


def make_prompt(
    session: Session, *, text: str | None = None, split: Split = Split.TRAIN, prompt_set: str = "stories"
) -> Prompt:
    """A prompt; by default its text is one of its own."""
    words = text or f"Number {next(_numbers)} opened the door and"
    digest = hashlib.sha256(words.encode()).hexdigest()
    return _flushed(session, Prompt(prompt_set=prompt_set, text=words, digest=digest, split=split))


def make_sample(
    session: Session, run: Run, prompt: Prompt, *, text: str | None = None, policy: Checkpoint | None = None
) -> Sample:
    """One valid sample of the serving policy."""
    sample = Sample(
        run_id=run.id,
        prompt_id=prompt.id,
        policy_id=policy.id if policy else run.serving_id,
        purpose=SamplePurpose.COMPARISON,
        text=text or f" ending {next(_numbers)} came.",
        token_ids=[1, 2],
        logprobs=[-1.0, -2.0],
        kept_tokens=2,
        valid=True,
        temperature=0.7,
        seed=0,
    )
    return _flushed(session, sample)


def make_comparison(
    session: Session,
    run: Run,
    *,
    prompt: Prompt | None = None,
    policy: Checkpoint | None = None,
    texts: tuple[str | None, ...] = (None, None, None, None),
    purpose: Purpose = Purpose.TRAIN,
    **fields: Any,
) -> Comparison:
    """A ready comparison with four samples, as of the run's latest promotion."""
    asked = prompt or make_prompt(session)
    values = {
        "run_id": run.id,
        "prompt_id": asked.id,
        "policy_id": policy.id if policy else run.serving_id,
        "promotion": run.promotions,
        "purpose": purpose,
        "wanted": None if purpose == Purpose.GOLD else 1,
    }
    comparison = _flushed(session, Comparison(**values | fields))
    for slot, text in enumerate(texts):
        sample = make_sample(session, run, asked, text=text, policy=policy)
        session.add(ComparisonSample(comparison_id=comparison.id, slot=slot, sample_id=sample.id))
    session.flush()
    return comparison


def _flushed(session: Session, row: Row) -> Row:
    session.add(row)
    session.flush()
    return row
