"""Prompts: the texts that the model continues."""

from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kinds import Split
from app.models.base import Base, Dated, Keyed, enum_column


class Prompt(Keyed, Dated, Base):
    """One text of a named set."""

    __tablename__ = "prompt"
    __table_args__ = (
        UniqueConstraint("prompt_set", "digest"),
        Index("ix_prompt_prompt_set_split", "prompt_set", "split"),
    )

    prompt_set: Mapped[str]
    text: Mapped[str]
    digest: Mapped[str]
    """Hex sha256 of the normalised text; equal texts are one prompt."""
    split: Mapped[Split] = mapped_column(enum_column(Split))
    reference: Mapped[str | None]
    """A human answer to it, such as the summary somebody wrote; nobody is shown it and no policy learns it."""
    info: Mapped[dict[str, Any] | None]
    """What its source knows of it: id, title, subreddit."""
