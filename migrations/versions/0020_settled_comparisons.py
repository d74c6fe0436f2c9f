"""Comparisons keep whether they train, so that a look of the loop need not read every label.

Unknown for all there are: the loop finds out.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.add_column("comparison", sa.Column("trains", sa.Boolean(), nullable=True))
    op.create_index("ix_comparison_trains", "comparison", ["run_id"], postgresql_where="trains is true")
    op.create_index("ix_comparison_unsettled", "comparison", ["run_id"], postgresql_where="trains is null")


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_comparison_unsettled", "comparison")
    op.drop_index("ix_comparison_trains", "comparison")
    op.drop_column("comparison", "trains")
