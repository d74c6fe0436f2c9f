"""Blind head-to-heads, and the job that writes their samples.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KINDS = (
    *("sample", "score", "showcase", "generate", "train_reward", "train_policy", "import_model"),
    *("import_prompts", "cut_prompts", "import_labels", "export_labels", "export_ids", "export_model"),
)
FREE = (
    *("generate", "showcase"),
    *("import_prompts", "cut_prompts", "import_labels", "export_labels", "export_ids", "export_model"),
)
PURPOSES = ("comparison", "showcase", "generate")


def upgrade() -> None:
    _allow("job", "kind", "jobkind", (*KINDS, "contest"))
    _in_flight(("generate", "showcase", "contest", *FREE[2:]))
    _allow("sample", "purpose", "samplepurpose", (*PURPOSES, "contest"))
    _contest()
    op.create_table(
        "contest_item",
        _key("comparison_id", "comparison", "contest_item"),
        _key("contest_id", "contest", "contest_item"),
        sa.Column("left_samples", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_contest_item")),
    )
    op.create_index(op.f("ix_contest_item_contest_id"), "contest_item", ["contest_id"])


def downgrade() -> None:
    op.drop_table("contest_item")
    op.drop_table("contest")
    op.execute("delete from job where kind = 'contest'")
    op.execute("update sample set purpose = 'generate' where purpose = 'contest'")
    _allow("sample", "purpose", "samplepurpose", PURPOSES)
    _in_flight(FREE)
    _allow("job", "kind", "jobkind", KINDS)


def _contest() -> None:
    op.create_table(
        "contest",
        _key("run_id", "run", "contest"),
        _key("created_by_id", "account", "contest", ondelete="RESTRICT", nullable=True),
        sa.Column("left", postgresql.JSONB(), nullable=False),
        sa.Column("right", postgresql.JSONB(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("per_side", "prompts", "labelers", "seed")),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contest")),
    )
    op.create_index(op.f("ix_contest_run_id"), "contest", ["run_id"])


def _key(column: str, table: str, of: str, *, ondelete: str = "CASCADE", nullable: bool = False) -> sa.Column[object]:
    key = sa.ForeignKey(f"{table}.id", name=op.f(f"fk_{of}_{column}"), ondelete=ondelete)
    return sa.Column(column, sa.Uuid(), key, nullable=nullable)


def _allow(table: str, column: str, name: str, values: tuple[str, ...]) -> None:
    known = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} in ({known})")


def _in_flight(free: tuple[str, ...]) -> None:
    names = ", ".join(f"'{kind}'" for kind in free)
    op.drop_index("uq_job_in_flight", "job")
    op.create_index(
        "uq_job_in_flight",
        "job",
        ["run_id", "kind"],
        unique=True,
        postgresql_where=f"state in ('queued', 'running') and kind not in ({names})",
    )
