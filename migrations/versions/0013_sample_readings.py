"""The KL of each token of a sample, and the job that finds it.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

KINDS = (
    *("sample", "score", "showcase", "generate", "contest", "train_reward", "train_policy", "import_model"),
    *("import_prompts", "cut_prompts", "import_labels", "export_labels", "export_ids", "export_model"),
)
CARRIED = KINDS[8:]
BEFORE = ("generate", "showcase", "contest", *CARRIED)
AFTER = ("showcase", "generate", "read_samples", "contest", *CARRIED)


def upgrade() -> None:
    _allow((*KINDS, "read_samples"))
    _in_flight(AFTER)
    sample = sa.ForeignKey("sample.id", name=op.f("fk_sample_reading_sample_id"), ondelete="CASCADE")
    op.create_table(
        "sample_reading",
        sa.Column("sample_id", sa.Uuid(), sample, nullable=False),
        sa.Column("kl", sa.Float(), nullable=False),
        sa.Column("token_kl", postgresql.ARRAY(sa.Float()), nullable=False),
        sa.Column("token_ends", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_sample_reading")),
    )


def downgrade() -> None:
    op.drop_table("sample_reading")
    op.execute("delete from job where kind = 'read_samples'")
    _in_flight(BEFORE)
    _allow(KINDS)


def _allow(kinds: tuple[str, ...]) -> None:
    known = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("ck_job_jobkind"), "job")
    op.create_check_constraint(op.f("ck_job_jobkind"), "job", f"kind in ({known})")


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
