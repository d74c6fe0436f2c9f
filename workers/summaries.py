"""The table of summaries: every baseline and policy on the same test prompts, by ROUGE and by how much it copies."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import copying, runs
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import TaskHParams
from app.models import Evaluation, Prompt, Run, Split
from app.reports.summaries import JUDGE
from workers.data.common import policy_files
from workers.head_to_head import write
from workers.models import weights_digest
from workers.nets.tokenizer import token_ids
from workers.plans import PolicyFiles, PromptText, SamplePlan
from workers.rouge import rouge
from workers.workshop import Workshop

LEAD = "lead-3"
NOBODY = UUID(int=0)


class Source(NamedTuple):
    """A test prompt with what a person wrote."""

    id: UUID
    text: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the table compares."""

    run_id: UUID
    also: tuple[UUID, ...]
    """Other runs whose serving policies take part, such as one that started from the supervised model."""
    supervised: Path | None
    """Folder of a model fine-tuned on references."""
    samples: int
    seed: int


def table(
    factory: SessionFactory, workshop: Workshop, options: Options, *, said: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Write summaries, measure, keep; the rows.

    Raises: InvalidError unless test prompts of the run have references.
    """
    with session_scope(factory) as session:
        run = runs.get(session, options.run_id)
        task, serving = runs.hparams_of(run).task, run.serving_id
        sources = _sources(session, run, options.samples)
        writers = _writers(session, run, options)
        base = policy_files(session, run, run.reference_id)
    tokenizer = workshop.reference(base).tokenizer
    lead = [_cut(copying.lead(one.text), tokenizer, task) for one in sources]
    rows = [_row("human reference", sources, [one.reference for one in sources]), _row(LEAD, sources, lead)]
    for name, files in writers.items():
        said(f"{name} summarises {len(sources)} test prompts")
        plan = _plan(files, task, sources, options.seed)
        rows.append(_row(name, sources, [draw.text for draw in write(workshop, plan, said)]))
    with session_scope(factory) as session:
        kept = Evaluation(
            run_id=options.run_id, policy_id=serving, judge=JUDGE, samples=len(sources), result={"rows": rows}
        )
        session.add(kept)
    return rows


def _writers(session: Session, run: Run, options: Options) -> dict[str, PolicyFiles]:
    """Zero-shot, supervised, and what PPO made of each."""
    digest: str | None = None
    found = {"zero-shot": policy_files(session, run, run.reference_id)}
    if options.supervised is not None:
        folder = options.supervised.expanduser().absolute()
        digest = weights_digest(folder)
        found["supervised"] = PolicyFiles(
            checkpoint_id=NOBODY, base_model=str(folder), reference_digest=digest, digest=None
        )
    for other in (run, *(runs.get(session, run_id) for run_id in options.also)):
        if other.serving_id != other.reference_id:
            files = policy_files(session, other, other.serving_id)
            begun = "supervised + PPO" if files.reference_digest == digest else "PPO"
            found[f"{begun} ({other.name})"] = files
    return found


def _sources(session: Session, run: Run, count: int) -> list[Source]:
    prompt_set = runs.hparams_of(run).prompt_set
    test = (Prompt.prompt_set == prompt_set, Prompt.split == Split.TEST, Prompt.reference.is_not(None))
    query = select(Prompt.id, Prompt.text, Prompt.reference).where(*test).order_by(Prompt.digest).limit(count)
    found = [Source(row.id, row.text, row.reference) for row in session.execute(query)]
    if not found:
        raise InvalidError(
            f"No test prompt of {prompt_set} has a reference: import the set with its summaries, such as --like cnndm."
        )
    return found


def _plan(files: PolicyFiles, task: TaskHParams, sources: Sequence[Source], seed: int) -> SamplePlan:
    return SamplePlan(
        policy=files,
        reward=None,
        task=task,
        prompts=tuple(PromptText(id=one.id, text=one.text) for one in sources),
        purposes=(),
        seed=seed,
    )


def _cut(text: str, tokenizer: Any, task: TaskHParams) -> str:
    """The words that a sample has room for: the baseline must not win by its length.

    The text itself is cut, for what a tokenizer gives back of its tokens may be other words.
    """
    ends = [one.end() for one in re.finditer(r"\S+", text)]
    fitting = bisect_right(ends, task.response_tokens, key=lambda end: len(token_ids(tokenizer, text[:end])))
    return text[: ends[fitting - 1]] if fitting else ""


def _row(writer: str, sources: Sequence[Source], summaries: Sequence[str]) -> dict[str, Any]:
    found = copying.measure((one.text, text) for one, text in zip(sources, summaries, strict=True))
    scores = rouge([one.reference for one in sources], summaries)
    figures = {
        "rouge1": scores.rouge1,
        "rouge2": scores.rouge2,
        "rougeL": scores.rouge_l,
        "rouge": scores.average,
        "novel_sentences": found.novel_sentences,
        **{f"novel_{n}grams" if n != 2 else "novel_bigrams": share for n, share in found.novel_grams.items()},
        "openings": found.openings,
        "openings_after_preamble": found.openings_after_preamble,
        "position": found.position,
        "words": sum(len(copying.words(text)) for text in summaries) / len(summaries),
    }
    return {"writer": writer} | {name: value if isfinite(value) else None for name, value in figures.items()}
