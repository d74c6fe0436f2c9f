"""Extremes of consecutive points of a curve, kept so that long curves are drawn without reading them.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = sa.ForeignKey("run.id", name=op.f("fk_metric_stretch_run_id"), ondelete="CASCADE")
    op.create_table(
        "metric_stretch",
        sa.Column("run_id", sa.Uuid(), run, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("least", postgresql.ARRAY(sa.Float()), nullable=False),
        sa.Column("most", postgresql.ARRAY(sa.Float()), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", "number", name=op.f("pk_metric_stretch")),
    )


def downgrade() -> None:
    op.drop_table("metric_stretch")
