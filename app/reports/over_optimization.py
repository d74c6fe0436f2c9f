"""What people and the reward model say of policies as they leave the reference: blind win rate and score against KL.

Where the score rises and the win rate falls, the policy has learned to please the reward model and not people.
Source: Stiennon et al. 2020, section 4.3 and figure 5; Gao et al. 2022.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from uuid import UUID

from sqlalchemy.orm import Session

from app import contests
from app.contests import Side
from app.models import CheckpointKind, Run
from app.quality import Mean
from app.reports.checkpoints import CheckpointReport, checkpoints
from app.reports.contests import ContestResult

MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A writer that met the reference blindly."""

    contest_id: UUID
    name: str
    kl: float
    """Nats from the reference; of the best of N, with the bound log N - (N - 1) / N on what choosing adds."""
    win_rate: Mean | None
    """Against the reference."""
    score: Mean | None
    """Of the newest reward model."""
    comparisons: int


def over_optimization(session: Session, run_id: UUID, results: Sequence[ContestResult]) -> tuple[Compared, ...]:
    """The policies of a run that met its reference in one of these contests, by KL."""
    run = session.get_one(Run, run_id)
    kinds = (CheckpointKind.POLICY, CheckpointKind.REFERENCE)
    known = {str(one.id): one for one in checkpoints(session, run_id, kinds=kinds, limit=MOST)}
    sides = {
        one.id: (contests.parsed(one.left), contests.parsed(one.right)) for one in contests.of_run(session, run_id)
    }
    found = [_compared(run, result, *sides[result.id], known) for result in results]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.kl))


def best_of_n_kl(n: int) -> float:
    """Upper bound of the KL of the best of n samples from the writer of one, in nats. Source: Stiennon et al. 2020."""
    return log(n) - (n - 1) / n


def _compared(
    run: Run, result: ContestResult, left: Side, right: Side, known: dict[str, CheckpointReport]
) -> Compared | None:
    ours, turned = (left, False) if _is_reference(run, right) else (right, True)
    theirs = left if turned else right
    writer = known.get(ours.checkpoint or "")
    if writer is None or not _is_reference(run, theirs):
        return None
    kl = 0.0 if writer.kind == CheckpointKind.REFERENCE else writer.kl
    if kl is None:
        return None
    return Compared(
        contest_id=result.id,
        name=ours.name,
        kl=kl + best_of_n_kl(ours.best_of),
        win_rate=result.win_rate.turned() if turned and result.win_rate else result.win_rate,
        score=result.score_right if turned else result.score_left,
        comparisons=result.wins + result.losses + result.ties,
    )


def _is_reference(run: Run, side: Side) -> bool:
    return side.kind == "policy" and side.checkpoint == str(run.reference_id) and side.best_of == 1
