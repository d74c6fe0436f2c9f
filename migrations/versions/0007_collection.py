"""Several answers per comparison, surplus labels, repeats, exclusions, tallies, agreement.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CURRENT = """
    not exists (select from label later where later.comparison_id = label.comparison_id
                and later.labeler_id = label.labeler_id and later.revision > label.revision)
"""
ANSWERS = f"select * from label where verdict in ('best', 'tie', 'none') and {CURRENT}"
NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    _columns()
    _counts()
    _indexes()
    _tables()
    op.execute(f"""
        insert into tally (run_id, labeler_id, day, answers)
        select run_id, labeler_id, (answer.created_at at time zone 'UTC')::date, count(*)
        from ({ANSWERS}) answer join comparison on comparison.id = answer.comparison_id
        group by 1, 2, 3
    """)


def downgrade() -> None:
    for table in ("agreement", "exclusion", "tally"):
        op.drop_table(table)
    # A lease of one comparison at a time: the newest stays.
    op.execute("""
        update assignment set state = 'expired' where state = 'leased' and exists
            (select from assignment newer where newer.comparison_id = assignment.comparison_id
             and newer.state = 'leased' and (newer.created_at, newer.id) > (assignment.created_at, assignment.id))
    """)
    op.drop_index("uq_assignment_lease", table_name="assignment")
    op.drop_index("ix_assignment_leased_until", table_name="assignment")
    op.create_index("ix_assignment_labeler_id_state", "assignment", ["labeler_id", "state"])
    op.create_index(
        "uq_assignment_leased_comparison",
        "assignment",
        ["comparison_id"],
        unique=True,
        postgresql_where="state = 'leased'",
    )
    op.drop_index("ix_comparison_queue", table_name="comparison")
    op.create_index("ix_comparison_run_id_state", "comparison", ["run_id", "state", "promotion", "created_at"])
    op.drop_column("label", "surplus")
    op.drop_index("ix_comparison_repeat_of_id", table_name="comparison")
    for column in ("repeat_of_id", "leased", "answers", "wanted"):
        op.drop_column("comparison", column)


def _columns() -> None:
    op.add_column("label", sa.Column("surplus", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.alter_column("label", "surplus", server_default=None)
    op.add_column("comparison", sa.Column("wanted", sa.Integer(), nullable=True, server_default="1"))
    for count in ("answers", "leased"):
        op.add_column("comparison", sa.Column(count, sa.Integer(), nullable=False, server_default="0"))
    for column in ("wanted", "answers", "leased"):
        op.alter_column("comparison", column, server_default=None)
    op.add_column("comparison", sa.Column("repeat_of_id", sa.Uuid(), nullable=True))
    name = op.f("fk_comparison_repeat_of_id")
    op.create_foreign_key(name, "comparison", "comparison", ["repeat_of_id"], ["id"], ondelete="RESTRICT")
    op.create_index("ix_comparison_repeat_of_id", "comparison", ["repeat_of_id"])


def _counts() -> None:
    """Of several answers to a comparison the earliest was wanted; the others came late."""
    op.execute(f"""
        update label set surplus = true from ({ANSWERS}) answer where label.id = answer.id and exists
            (select from ({ANSWERS}) earlier where earlier.comparison_id = answer.comparison_id
             and (earlier.created_at, earlier.id) < (answer.created_at, answer.id))
    """)
    op.execute(f"""
        update comparison set
            wanted = case when purpose = 'gold' then null else 1 end,
            answers = least(1, (select count(*) from ({ANSWERS}) answer where comparison_id = comparison.id)),
            leased = (select count(*) from assignment where comparison_id = comparison.id and state = 'leased')
    """)
    op.create_check_constraint(op.f("ck_comparison_answers_within_wanted"), "comparison", "answers <= wanted")
    op.create_check_constraint(op.f("ck_comparison_counts_not_negative"), "comparison", "answers >= 0 and leased >= 0")


def _indexes() -> None:
    op.drop_index("ix_comparison_run_id_state", table_name="comparison")
    op.create_index(
        "ix_comparison_queue",
        "comparison",
        ["run_id", sa.text("promotion desc"), "created_at"],
        postgresql_where="state = 'ready'",
    )
    op.drop_index("uq_assignment_leased_comparison", table_name="assignment")
    op.drop_index("ix_assignment_labeler_id_state", table_name="assignment")
    op.create_index(
        "uq_assignment_lease",
        "assignment",
        ["labeler_id", "comparison_id"],
        unique=True,
        postgresql_where="state = 'leased'",
    )
    op.create_index("ix_assignment_leased_until", "assignment", ["expires_at"], postgresql_where="state = 'leased'")


def _tables() -> None:
    op.create_table(
        "tally",
        _reference("run_id", "run", "tally"),
        _reference("labeler_id", "account", "tally"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "labeler_id", "day", name=op.f("pk_tally")),
    )
    op.create_table(
        "exclusion",
        _reference("run_id", "run", "exclusion"),
        _reference("labeler_id", "account", "exclusion"),
        sa.Column("reason", sa.String(), nullable=False),
        _reference("excluded_by_id", "account", "exclusion", nullable=True, ondelete="RESTRICT"),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        _reference("lifted_by_id", "account", "exclusion", nullable=True, ondelete="RESTRICT"),
        *_keyed_and_dated("exclusion"),
    )
    op.create_index(
        "uq_exclusion_in_force",
        "exclusion",
        ["run_id", "labeler_id"],
        unique=True,
        postgresql_where="lifted_at is null",
    )
    op.create_table(
        "agreement",
        _reference("run_id", "run", "agreement"),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        *_keyed_and_dated("agreement"),
    )
    op.create_index("ix_agreement_run_id_created_at", "agreement", ["run_id", "created_at"])


def _keyed_and_dated(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )


def _reference(
    column: str, table: str, of: str, *, nullable: bool = False, ondelete: str = "CASCADE"
) -> sa.Column[object]:
    key = sa.ForeignKey(f"{table}.id", name=op.f(f"fk_{of}_{column}"), ondelete=ondelete)
    return sa.Column(column, sa.Uuid(), key, nullable=nullable)
