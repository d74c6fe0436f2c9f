"""Results of contests: votes per comparison, win rate, agreement, length, scores, and texts drawn at random."""

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import contests, votes
from app.models import (
    Account,
    Comparison,
    ComparisonSample,
    ContestItem,
    Label,
    Prompt,
    Run,
    Sample,
    SampleScore,
    Verdict,
)
from app.quality import Mean, mean_interval
from app.usable import is_current
from app.votes import Item, Vote

EXAMPLES = 8
ANSWERS = (Verdict.BEST, Verdict.TIE, Verdict.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One comparison as it was, drawn at random."""

    prompt: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    said: tuple[Vote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestResult:
    """What people said."""

    id: UUID
    run_id: UUID
    left: str
    right: str
    per_side: int
    labelers: int
    comparisons: int
    """Put to people."""
    complete: int
    """Answered by as many people as were asked."""
    wins: int
    """Comparisons the left side won by majority."""
    losses: int
    ties: int
    win_rate: Mean | None
    """Of the left side over all comparisons with a vote; a tie is half a win."""
    at_equal_length: float | None
    agreement: dict[str, tuple[float, int]]
    """Per labeler, and "" for all: share of pairs of votes that are the same, and pairs."""
    score_left: Mean | None
    """Of the newest reward model, where it has scored the samples."""
    score_right: Mean | None
    examples: tuple[Example, ...]


class _Shown(NamedTuple):
    comparison_id: UUID
    prompt: str
    sample_id: UUID
    text: str
    left: bool


def contest_result(session: Session, contest_id: UUID) -> ContestResult:
    """What people have said by now. Raises: NotFoundError."""
    contest = contests.get(session, contest_id)
    shown = _shown(session, contest_id)
    said = _votes(session, contest_id)
    texts: dict[UUID, dict[bool, list[str]]] = defaultdict(lambda: {True: [], False: []})
    for one in shown:
        texts[one.comparison_id][one.left].append(one.text)
    items = {
        key: Item(votes=said.get(key, {}), log_length_ratio=votes.log_ratio(both[True], both[False]))
        for key, both in texts.items()
    }
    voted = [one for one in items.values() if one.votes]
    scores = _scores(session, contest.run_id, shown)
    return ContestResult(
        id=contest.id,
        run_id=contest.run_id,
        left=contest.left["name"],
        right=contest.right["name"],
        per_side=contest.per_side,
        labelers=contest.labelers,
        comparisons=len(items),
        complete=sum(len(one.votes) >= contest.labelers for one in voted),
        wins=sum(one.majority == "left" for one in voted),
        losses=sum(one.majority == "right" for one in voted),
        ties=sum(one.majority == "tie" for one in voted),
        win_rate=votes.win_rate(voted),
        at_equal_length=votes.at_equal_length(voted),
        agreement=votes.agreement(voted),
        score_left=scores[True],
        score_right=scores[False],
        examples=_examples(contest.seed, shown, items),
    )


def _shown(session: Session, contest_id: UUID) -> list[_Shown]:
    rows = session.execute(
        select(ContestItem.comparison_id, Prompt.text, Sample.id, Sample.text, ContestItem.left_samples)
        .join(Comparison, Comparison.id == ContestItem.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(ComparisonSample, ComparisonSample.comparison_id == Comparison.id)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(ContestItem.contest_id == contest_id)
        .order_by(ContestItem.comparison_id, ComparisonSample.slot)
    )
    return [_Shown(key, prompt, id_, text, id_ in left) for key, prompt, id_, text, left in rows]


def _votes(session: Session, contest_id: UUID) -> dict[UUID, dict[str, Vote]]:
    rows = session.execute(
        select(Label.comparison_id, Account.name, Label.labeler_id, Label.chosen_sample_id, ContestItem.left_samples)
        .join(ContestItem, ContestItem.comparison_id == Label.comparison_id)
        .join(Account, Account.id == Label.labeler_id)
        .where(
            ContestItem.contest_id == contest_id,
            Label.verdict.in_(ANSWERS),
            Account.disabled_at.is_(None),
            is_current(),
        )
        .order_by(Label.created_at)
    )
    found: dict[UUID, dict[str, Vote]] = defaultdict(dict)
    for comparison_id, name, labeler_id, chosen, left in rows:
        vote: Vote = "tie" if chosen is None else "left" if chosen in left else "right"
        found[comparison_id][f"{name} {str(labeler_id)[:4]}"] = vote
    return found


def _scores(session: Session, run_id: UUID, shown: list[_Shown]) -> dict[bool, Mean | None]:
    model = session.get_one(Run, run_id).reward_model_id
    of_these = (SampleScore.reward_model_id == model, SampleScore.sample_id.in_([one.sample_id for one in shown]))
    rows = session.execute(select(SampleScore.sample_id, SampleScore.score).where(*of_these))
    found = {row.sample_id: row.score for row in rows}
    sides = {
        side: [found[one.sample_id] for one in shown if one.left == side and one.sample_id in found]
        for side in (True, False)
    }
    return {side: mean_interval(values) if len(values) > 1 else None for side, values in sides.items()}


def _examples(seed: int, shown: list[_Shown], items: dict[UUID, Item]) -> tuple[Example, ...]:
    voted = sorted((key for key, one in items.items() if one.votes), key=str)
    chosen = random.Random(seed).sample(voted, min(EXAMPLES, len(voted)))
    return tuple(
        Example(
            prompt=next(one.prompt for one in shown if one.comparison_id == key),
            left=tuple(one.text for one in shown if one.comparison_id == key and one.left),
            right=tuple(one.text for one in shown if one.comparison_id == key and not one.left),
            said=tuple(items[key].votes.values()),
        )
        for key in chosen
    )
