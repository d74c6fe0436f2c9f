"""An index for who labeled lately: the loop asks at every look.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_assignment_created_at", "assignment", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_assignment_created_at", "assignment")
