"""What the labeling page keeps besides labels: answers to questions, read guidelines, practice, gold.

Revision ID: 0005
Revises: 0004
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

QUESTIONS = ("naive", "wrong", "better", "coherence", "accuracy", "coverage", "overall")


def upgrade() -> None:
    op.create_table(
        "label_answer",
        sa.Column("label_id", sa.Uuid(), nullable=False),
        sa.Column(
            "question",
            sa.Enum(*QUESTIONS, name="question", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("text", sa.String(), nullable=True),
        sa.CheckConstraint("(rating is null) <> (text is null)", name=op.f("ck_label_answer_rating_or_text")),
        sa.ForeignKeyConstraint(["label_id"], ["label.id"], name=op.f("fk_label_answer_label_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("label_id", "question", name=op.f("pk_label_answer")),
    )
    op.add_column("guideline", sa.Column("author_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_guideline_author_id"), "guideline", "account", ["author_id"], ["id"], ondelete="RESTRICT"
    )
    _acknowledgement()
    _practice()
    _gold()


def downgrade() -> None:
    op.drop_table("gold")
    op.drop_table("practice_answer")
    op.drop_table("practice_item")
    op.drop_table("acknowledgement")
    op.drop_constraint(op.f("fk_guideline_author_id"), "guideline", type_="foreignkey")
    op.drop_column("guideline", "author_id")
    op.drop_table("label_answer")


def _created_at() -> sa.Column[datetime]:
    now = sa.text("clock_timestamp()")
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False)


def _acknowledgement() -> None:
    op.create_table(
        "acknowledgement",
        sa.Column("guideline_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["guideline_id"], ["guideline.id"], name=op.f("fk_acknowledgement_guideline_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_acknowledgement_account_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("guideline_id", "account_id", name=op.f("pk_acknowledgement")),
    )


def _practice() -> None:
    op.create_table(
        "practice_item",
        sa.Column("id", sa.Uuid(), nullable=False),
        _created_at(),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("samples", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("best", sa.Integer(), nullable=False),
        sa.Column("explanation", sa.String(), nullable=False),
        sa.CheckConstraint("best >= 0 and best < cardinality(samples)", name=op.f("ck_practice_item_best_is_a_sample")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_practice_item_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_item")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_practice_item_run_id_number")),
    )
    op.create_table(
        "practice_answer",
        sa.Column("id", sa.Uuid(), nullable=False),
        _created_at(),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["practice_item.id"], name=op.f("fk_practice_answer_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_practice_answer_account_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_answer")),
        sa.UniqueConstraint(
            "item_id", "account_id", "attempt", name=op.f("uq_practice_answer_item_id_account_id_attempt")
        ),
    )
    op.create_index("ix_practice_answer_account_id", "practice_answer", ["account_id"], unique=False)


def _gold() -> None:
    op.create_table(
        "gold",
        sa.Column("comparison_id", sa.Uuid(), nullable=False),
        _created_at(),
        sa.Column("sample_id", sa.Uuid(), nullable=False),
        sa.Column("explanation", sa.String(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_gold_comparison_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sample_id"], ["sample.id"], name=op.f("fk_gold_sample_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["author_id"], ["account.id"], name=op.f("fk_gold_author_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_gold")),
    )
