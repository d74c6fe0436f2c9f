"""The job that compares reward models with and without one labeler's labels.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KINDS = (
    *("sample", "score", "showcase", "generate", "read_samples", "contest", "train_reward", "train_policy"),
    *("import_model", "import_prompts", "cut_prompts", "import_labels", "export_labels", "export_ids", "export_model"),
)
CARRIED = KINDS[9:]
BEFORE = ("showcase", "generate", "read_samples", "contest", *CARRIED)
AFTER = ("showcase", "generate", "read_samples", "contest", "leave_out", *CARRIED)


def upgrade() -> None:
    _allow((*KINDS, "leave_out"))
    _in_flight(AFTER)


def downgrade() -> None:
    op.execute("delete from job where kind = 'leave_out'")
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
