"""Find a run's gold comparisons without reading its queue.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.create_index(
        "ix_comparison_gold", "comparison", ["run_id"], postgresql_where="purpose = 'gold' and state = 'ready'"
    )


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_comparison_gold", "comparison")
