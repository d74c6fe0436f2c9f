"""Let a lease and an answer change a comparison beside where it lies, and let indexes hold what is asked of them.

A row that is updated on its own page needs no new entry in any index. Comparisons that show no other again need none in
the index of those that do.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

NAME = "ix_comparison_repeat_of_id"


def upgrade() -> None:
    """Up."""
    op.execute("alter table comparison set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05)")
    op.execute("alter table assignment set (autovacuum_vacuum_scale_factor = 0.05)")
    _replace("repeat_of_id is not null")


def downgrade() -> None:
    """Down."""
    _replace(None)
    op.execute("alter table assignment reset (autovacuum_vacuum_scale_factor)")
    op.execute("alter table comparison reset (fillfactor, autovacuum_vacuum_scale_factor)")


def _replace(condition: str | None) -> None:
    op.drop_index(NAME, "comparison")
    op.create_index(NAME, "comparison", ["repeat_of_id"], postgresql_where=condition)
