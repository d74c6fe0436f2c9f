"""Guidelines: what labelers of a run are told, version by version, and who has read which.

A run starts with a shipped text, by the name its hyperparameters give, or with its question alone. Researchers write
further versions; nothing is overwritten, and each label names the version that its labeler had read.
"""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import audit, resources
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import Acknowledgement, Guideline, Run

FOLDER = "guidelines"
MOST_CHARACTERS = 20_000


def shipped(name: str) -> str:
    """The text of a shipped guideline, in Markdown.

    Raises: InvalidError naming those there are.
    """
    known = {path.stem: path for path in resources.data(FOLDER).glob("*.md")}
    if name not in known:
        raise InvalidError(f"There is no guideline {name!r}; choose one of: {', '.join(sorted(known))}.")
    return known[name].read_text(encoding="utf-8")


def newest(session: Session, run_id: UUID) -> Guideline | None:
    """The version that is shown."""
    return session.scalar(
        select(Guideline).where(Guideline.run_id == run_id).order_by(Guideline.version.desc()).limit(1)
    )


def versions(session: Session, run_id: UUID) -> list[Guideline]:
    """All versions, newest first."""
    return list(session.scalars(select(Guideline).where(Guideline.run_id == run_id).order_by(Guideline.version.desc())))


def publish(session: Session, run_id: UUID, author_id: UUID | None, text: str) -> Guideline:
    """Write the next version; labelers are asked to read it.

    Raises: NotFoundError without such a run, InvalidError without words, ConflictError if it says what the newest says.
    """
    if not text.strip() or len(text) > MOST_CHARACTERS or "\x00" in text:
        raise InvalidError(f"Write the guideline, in at most {MOST_CHARACTERS} characters.")
    run = session.scalar(select(Run).where(Run.id == run_id).with_for_update(key_share=True))
    if run is None:
        raise NotFoundError("There is no such run.")
    before = newest(session, run_id)
    if before is not None and before.text == text.strip():
        raise ConflictError("This is what the newest version says.")
    version = before.version + 1 if before else 1
    made = Guideline(run_id=run_id, version=version, text=text.strip(), author_id=author_id)
    session.add(made)
    session.flush()
    audit.record(session, author_id, "guideline.published", run_id=run_id, version=made.version)
    return made


def acknowledge(session: Session, guideline_id: UUID, account_id: UUID) -> None:
    """Remember that somebody has read a version; once is enough.

    Raises: NotFoundError without such a version.
    """
    if session.get(Guideline, guideline_id) is None:
        raise NotFoundError("There is no such guideline.")
    row = insert(Acknowledgement).values(guideline_id=guideline_id, account_id=account_id)
    session.execute(row.on_conflict_do_nothing())


def acknowledged(session: Session, guideline_id: UUID, account_id: UUID) -> bool:
    """Whether somebody has read a version."""
    return session.get(Acknowledgement, (guideline_id, account_id)) is not None


def readers(session: Session, run_id: UUID) -> dict[UUID, int]:
    """How many people have read each version."""
    query = (
        select(Guideline.id, func.count(Acknowledgement.account_id))
        .join(Acknowledgement, Acknowledgement.guideline_id == Guideline.id)
        .where(Guideline.run_id == run_id)
        .group_by(Guideline.id)
    )
    return {row[0]: row[1] for row in session.execute(query)}
