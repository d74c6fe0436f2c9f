"""How far each published policy got.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STANDINGS = ("candidate", "approved", "held", "demoted", "passed_over")


def upgrade() -> None:
    op.add_column("checkpoint", sa.Column("standing", sa.String(32), nullable=True))
    known = ", ".join(f"'{one}'" for one in STANDINGS)
    op.create_check_constraint(op.f("ck_checkpoint_standing"), "checkpoint", f"standing in ({known})")
    op.execute("""
        update checkpoint set standing = case audit.action when 'policy.promoted' then 'approved' else 'held' end
        from audit where checkpoint.kind = 'policy' and audit.action in ('policy.promoted', 'policy.held')
            and audit.run_id = checkpoint.run_id and audit.detail ->> 'policy' = checkpoint.id::text
    """)
    op.execute("update checkpoint set standing = 'candidate' where id in (select candidate_id from run)")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_checkpoint_standing"), "checkpoint")
    op.drop_column("checkpoint", "standing")
