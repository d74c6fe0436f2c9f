"""Labels from elsewhere: where comparisons and labels came from, policies without files, samples without a temperature.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KINDS = ("reference", "policy", "reward_model", "training_state")


def upgrade() -> None:
    op.add_column("comparison", sa.Column("origin", postgresql.JSONB(), nullable=True))
    op.add_column("label", sa.Column("imported", postgresql.JSONB(), nullable=True))
    op.alter_column("sample", "temperature", nullable=True)
    _kinds(*KINDS, "external")


def downgrade() -> None:
    """What was imported stays, as if it had been written here by the policy that serves."""
    op.execute(
        "update sample set policy_id = run.reference_id from run, checkpoint "
        "where run.id = sample.run_id and checkpoint.id = sample.policy_id and checkpoint.kind = 'external'"
    )
    op.execute(
        "update comparison set policy_id = run.reference_id from run, checkpoint "
        "where run.id = comparison.run_id and checkpoint.id = comparison.policy_id and checkpoint.kind = 'external'"
    )
    op.execute("delete from checkpoint where kind = 'external'")
    op.execute("update sample set temperature = 1 where temperature is null")
    _kinds(*KINDS)
    op.alter_column("sample", "temperature", nullable=False)
    op.drop_column("label", "imported")
    op.drop_column("comparison", "origin")


def _kinds(*kinds: str) -> None:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("ck_checkpoint_checkpointkind"), "checkpoint")
    op.create_check_constraint(op.f("ck_checkpoint_checkpointkind"), "checkpoint", f"kind in ({names})")
