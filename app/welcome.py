"""The first steps for somebody who has just started Prefloop: prompts, people, a run, links to sign in with."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import accounts, comparisons, prompts, runs, texts
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.hparams import planned
from app.models import Account, ApiToken, Comparison, Label, Phase, Role, Run
from app.settings import Settings

TOKEN_NAME = "prefloop up"
DEFAULT_PRESET = "sentiment-small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the terminal prints and the ready file holds."""

    url: str
    labeler_link: str
    researcher_link: str
    api_token: str
    """The researcher's, who may also label."""
    run_id: UUID


def prepare(
    factory: SessionFactory, settings: Settings, *, base_model: str | None, preset: str = DEFAULT_PRESET
) -> Welcome:
    """Make what is missing, and fresh links; those of the last start that nobody used stop working.

    Args:
        base_model: to start a run from, unless one on it is there; None: take the newest run that has not ended.
    Raises: InvalidError if there is neither a run nor a base model, or no such preset.
    """
    with session_scope(factory) as session:
        labeler = _account(session, "labeler", Role.LABELER)
        researcher = _account(session, "researcher", Role.RESEARCHER)
        run = _run(session, base_model) or _create_run(session, base_model, preset, researcher.id)
        return Welcome(
            url=settings.site_url,
            labeler_link=fresh_link(session, settings, labeler.id),
            researcher_link=fresh_link(session, settings, researcher.id),
            api_token=_fresh_token(session, researcher.id),
            run_id=run.id,
        )


def goes_on(session: Session, base_model: str | None) -> bool:
    """Whether a run goes on (None: on any model) that has its base model already, so that none need be fetched."""
    run = _run(session, base_model)
    return run is not None and (base_model is None or run.reference_id is not None)


def is_ready(factory: SessionFactory, run_id: UUID) -> bool:
    """Whether a comparison can be labeled, or was: a run that is through, paused or training may have none left."""
    with session_scope(factory) as session:
        labeled = select(Label.id).join(Comparison).where(Comparison.run_id == run_id).limit(1)
        return (
            comparisons.ready_count(session, run_id) > 0
            or session.get_one(Run, run_id).phase != Phase.RUNNING
            or session.scalar(labeled) is not None
        )


def fresh_link(session: Session, settings: Settings, account_id: UUID) -> str:
    """A one-time sign-in link that makes the account's older ones worthless."""
    accounts.revoke_invites(session, account_id)
    return f"{settings.site_url}/signin/{accounts.invite(session, account_id, days=settings.link_days)}"


def _account(session: Session, name: str, role: Role) -> Account:
    mine = select(Account).where(Account.name == name, Account.role == role, Account.disabled_at.is_(None))
    found = session.scalar(mine.order_by(Account.created_at).limit(1))
    return found or accounts.create_account(session, name, role)


def _fresh_token(session: Session, account_id: UUID) -> str:
    session.execute(
        update(ApiToken)
        .where(ApiToken.account_id == account_id, ApiToken.name == TOKEN_NAME, ApiToken.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
    return accounts.issue_token(session, account_id, TOKEN_NAME)


def _run(session: Session, base_model: str | None) -> Run | None:
    alive = select(Run).where(Run.phase != Phase.STOPPED)
    wanted = alive if base_model is None else alive.where(Run.base_model == base_model)
    return session.scalar(wanted.order_by(Run.created_at.desc()).limit(1))


def _create_run(session: Session, base_model: str | None, preset: str, actor_id: UUID) -> Run:
    if base_model is None:
        raise InvalidError("There is no run to go on with: give a base model with --model.")
    hparams = planned(preset)
    if not any(prompts.counts(session, hparams.prompt_set).values()):
        prompts.import_texts(session, hparams.prompt_set, texts.bundled_stories())
    return runs.create(session, name=preset, base_model=base_model, hparams=hparams, actor_id=actor_id)
