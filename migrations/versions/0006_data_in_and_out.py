"""Jobs that carry data: without a run, with progress; references and sources of prompts.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BEFORE = ("sample", "score", "showcase", "generate", "train_reward", "train_policy", "import_model")
ADDED = ("import_prompts", "cut_prompts", "import_labels", "export_labels", "export_ids", "export_model")


def upgrade() -> None:
    op.alter_column("job", "run_id", nullable=True)
    op.add_column("job", sa.Column("progress", postgresql.JSONB(), nullable=True))
    _kinds(*BEFORE, *ADDED)
    _in_flight(*ADDED)
    op.add_column("prompt", sa.Column("reference", sa.String(), nullable=True))
    op.add_column("prompt", sa.Column("info", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("prompt", "info")
    op.drop_column("prompt", "reference")
    names = ", ".join(f"'{kind}'" for kind in ADDED)
    op.execute(f"delete from job where kind in ({names})")
    _in_flight()
    _kinds(*BEFORE)
    op.drop_column("job", "progress")
    op.alter_column("job", "run_id", nullable=False)


def _kinds(*kinds: str) -> None:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("ck_job_jobkind"), "job")
    op.create_check_constraint(op.f("ck_job_jobkind"), "job", f"kind in ({names})")


def _in_flight(*free: str) -> None:
    names = ", ".join(f"'{kind}'" for kind in ("generate", "showcase", *free))
    op.drop_index("uq_job_in_flight", "job")
    op.create_index(
        "uq_job_in_flight",
        "job",
        ["run_id", "kind"],
        unique=True,
        postgresql_where=f"state in ('queued', 'running') and kind not in ({names})",
    )
