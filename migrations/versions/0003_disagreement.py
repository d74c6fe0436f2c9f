"""How far an ensemble of reward models disagrees about a sample.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sample_score", sa.Column("disagreement", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("sample_score", "disagreement")
