"""Head-to-heads in a session of their own, and the job that probes a reward model.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

KINDS = (
    *("sample", "score", "showcase", "generate", "read_samples", "contest", "leave_out", "train_reward"),
    *("train_policy", "import_model", "import_prompts", "cut_prompts", "import_labels", "export_labels"),
    *("export_ids", "export_model"),
)
CARRIED = KINDS[10:]
BEFORE = ("showcase", "generate", "read_samples", "contest", "leave_out", *CARRIED)
AFTER = ("showcase", "generate", "read_samples", "contest", "leave_out", "probe_reward", *CARRIED)
PURPOSES = ("train", "validation", "gold", "practice", "repeat", "evaluation")


def upgrade() -> None:
    _allow("job", "kind", "jobkind", (*KINDS, "probe_reward"))
    _in_flight(AFTER)
    _allow("comparison", "purpose", "purpose", (*PURPOSES, "session"))
    op.add_column("contest", sa.Column("own_session", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("contest", "own_session")
    op.execute("update comparison set purpose = 'evaluation' where purpose = 'session'")
    _allow("comparison", "purpose", "purpose", PURPOSES)
    op.execute("delete from job where kind = 'probe_reward'")
    _in_flight(BEFORE)
    _allow("job", "kind", "jobkind", KINDS)


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
