"""Label sets: exactly which labels a reward model was fitted on, as a set."""

from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class LabelSet(Keyed, Dated, Base):
    """A frozen set of labels."""

    __tablename__ = "label_set"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="RESTRICT"), index=True)
    size: Mapped[int]


class LabelSetItem(Base):
    """Membership of a label in a set."""

    __tablename__ = "label_set_item"

    label_set_id: Mapped[UUID] = mapped_column(ForeignKey("label_set.id", ondelete="CASCADE"), primary_key=True)
    label_id: Mapped[UUID] = mapped_column(ForeignKey("label.id", ondelete="RESTRICT"), primary_key=True, index=True)
