"""The labels of a run as a whole: who labels how, how far people agree, whether the policy wins against its start."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import quality
from app.models import Account, Agreement, Comparison, Label, Purpose, Run, Sample
from app.quality import Share
from app.reports.labelers import LabelerQuality, labelers
from app.reports.objections import Flagged, SkipReason, flagged, skip_reasons
from app.usable import usable_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two labelers and the comparisons that both answered."""

    one: UUID
    other: UUID
    agreed: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReport:
    """How far people agree on comparisons that several of them answered, as last worked out."""

    made_at: datetime
    comparisons: int
    labels: int
    alpha: Figure | None
    """Krippendorff's alpha, nominal: 1 is full agreement, 0 is chance; bootstrapped by comparison."""
    percent: Figure | None
    """Mean share of pairs of people who chose the same."""
    pairs: tuple[Pair, ...]
    weights: Mapping[UUID, float]
    """By labeler: the share of answers that they knew, in [0, 1], by one-coin Dawid-Skene; `reward.label_weights`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuality:
    """All that is known of the labels."""

    everybody: LabelerQuality
    labelers: tuple[LabelerQuality, ...]
    agreement: AgreementReport | None
    """None until two people have answered the same comparison, and a minute passed."""
    validation: Share
    """Validation comparisons that a serving policy won against the reference; chance is 1/2."""
    flagged: tuple[Flagged, ...]
    """Comparisons that labelers took out of the queue, the last first."""
    skips: tuple[SkipReason, ...]
    """Why others were skipped."""


def run_quality(session: Session, run_id: UUID) -> RunQuality:
    """The labels of a run. Raises: NotFoundError without such a run."""
    everybody, *people = labelers(session, run_id)
    return RunQuality(
        everybody=everybody,
        labelers=tuple(people),
        agreement=agreement(session, run_id),
        validation=_validation(session, run_id),
        flagged=flagged(session, run_id),
        skips=skip_reasons(session, run_id),
    )


def agreement(session: Session, run_id: UUID) -> AgreementReport | None:
    """The newest report, without accounts that are gone."""
    of_run = select(Agreement).where(Agreement.run_id == run_id)
    found = session.scalar(of_run.order_by(Agreement.created_at.desc()).limit(1))
    if found is None:
        return None
    report = found.report
    return AgreementReport(
        made_at=found.created_at,
        comparisons=report["comparisons"],
        labels=report["labels"],
        alpha=_figure(report["alpha"]),
        percent=_figure(report["percent"]),
        pairs=tuple(
            Pair(one=UUID(pair["one"]), other=UUID(pair["other"]), agreed=quality.share(pair["hits"], pair["n"]))
            for pair in report["pairs"]
        ),
        weights={UUID(labeler): weight for labeler, weight in report["weights"].items()},
    )


def pair_matrix(found: AgreementReport) -> Mapping[tuple[UUID, UUID], Share]:
    """How often each two labelers chose the same, either way round; those who share no comparison are left out."""
    return {ids: pair.agreed for pair in found.pairs for ids in ((pair.one, pair.other), (pair.other, pair.one))}


def names(session: Session, found: RunQuality) -> dict[UUID, str]:
    """Of everybody in the report."""
    ids = {one.labeler for one in found.labelers if one.labeler}
    if found.agreement is not None:
        ids |= found.agreement.weights.keys()
    return {row[0]: row[1] for row in session.execute(select(Account.id, Account.name).where(Account.id.in_(ids)))}


def _figure(found: Mapping[str, Any] | None) -> Figure | None:
    return None if found is None else Figure(**found)


def _validation(session: Session, run_id: UUID) -> Share:
    asked = usable_labels(run_id).where(Comparison.purpose == Purpose.VALIDATION).subquery()
    won = func.count().filter(Sample.policy_id != Run.reference_id)
    query = (
        select(won, func.count())
        .select_from(asked)
        .join(Label, Label.id == asked.c.id)
        .join(Sample, Sample.id == Label.chosen_sample_id)
        .join(Run, Run.id == run_id)
    )
    hits, n = session.execute(query).one()
    return quality.share(hits, n)
