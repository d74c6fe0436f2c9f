"""Let only who asks when leases end read the index of their ends, and not who asks what a labeler holds.

Revision ID: 0021
Revises: 0020
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

NAME = "ix_assignment_leased_until"


def upgrade() -> None:
    """Up."""
    _replace("state = 'leased' and expires_at is not null")


def downgrade() -> None:
    """Down."""
    _replace("state = 'leased'")


def _replace(condition: str) -> None:
    op.drop_index(NAME, "assignment")
    op.create_index(NAME, "assignment", ["expires_at"], postgresql_where=condition)
