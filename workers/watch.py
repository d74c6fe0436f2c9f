"""Looks at a running run and pulls the cord where a detector finds a reason. Needs no torch."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.orm import Session

from app import andon, reports
from app.hparams import RunHParams
from app.models import Checkpoint, Run
from workers import detectors
from workers.detectors import Evidence, Tally, UpdateFigures
from workers.loop import Trial

NAMES = {
    "score": "objective/score",
    "optimised": "objective/score_total",
    "kl": "objective/kl",
    "kl_coef": "objective/kl_coef",
    "entropy": "objective/entropy",
    "valid": "objective/valid_fraction",
}
"""Field of `UpdateFigures` -> metric."""


def watch(session: Session, run: Run, hparams: RunHParams) -> list[str]:
    """Pull the cord if there is a reason to; the reasons. Nothing while it is pulled already."""
    if andon.pulled(session, run.id) is not None:
        return []
    found = detectors.alarms(gather(session, run, hparams), hparams.andon)
    if found:
        andon.pull(session, run.id, None, " ".join(found))
    return found


def gather(session: Session, run: Run, hparams: RunHParams) -> Evidence:
    """What the detectors look at."""
    since, names = reports.fresh_since(session, run), tuple(NAMES.values())
    newest = reports.update_figures(session, run, names, newest=hparams.andon.trend_updates, since=since)
    first = reports.first_figures(session, run.id, names, updates=hparams.andon.band_updates)
    on_trial = run.candidate_id if hparams.promotion.strict and run.candidate_id else run.serving_id
    blind = trial(session, run, on_trial) or Trial()
    chosen = reports.choices(session, run, since)
    model = session.get(Checkpoint, run.reward_model_id) if run.reward_model_id else None
    number = 1 if model is None else reports.attempt(session, model, since)
    return Evidence(
        first=[_figures(row) for row in first],
        last=[_figures(row) for row in newest],
        batch=hparams.ppo.batch,
        kl_target=hparams.ppo.kl_target,
        blind=Tally(hits=blind.won, misses=blind.lost, attempt=blind.attempt),
        choices=Tally(hits=chosen.hits, misses=chosen.misses, attempt=number),
        novel=reports.novel_sentences(session, run, since) if hparams.task.summary else None,
    )


def trial(session: Session, run: Run, policy_id: UUID | None) -> Trial | None:
    """How a policy did in blind comparisons; None of the reference, which is compared with nothing."""
    policy = session.get(Checkpoint, policy_id) if policy_id and policy_id != run.reference_id else None
    if policy is None:
        return None
    since = reports.fresh_since(session, run)
    found = reports.blind_wins(session, run, policy.id, since)
    return Trial(
        won=found.hits,
        lost=found.misses,
        open=reports.open_blind(session, run, policy.id),
        attempt=reports.attempt(session, policy, since),
    )


def _figures(row: Mapping[str, float]) -> UpdateFigures:
    return UpdateFigures(**{field: row[name] for field, name in NAMES.items()})
