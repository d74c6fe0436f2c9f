"""The audit log refuses changes, whoever asks for them, and outlives the runs it tells of.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("fk_audit_run_id", "audit", type_="foreignkey")
    op.execute(
        """
        create function refuse_to_change_audit() returns trigger language plpgsql as $$
        begin
            raise exception 'the audit log is only ever added to' using errcode = 'insufficient_privilege';
        end $$
        """
    )
    op.execute(
        """
        create trigger audit_is_only_added_to before update or delete or truncate on audit
        for each statement execute function refuse_to_change_audit()
        """
    )


def downgrade() -> None:
    op.execute("drop trigger audit_is_only_added_to on audit")
    op.execute("drop function refuse_to_change_audit()")
    # What was logged about runs that are gone cannot name them again under the older schema.
    op.execute("update audit set run_id = null where run_id not in (select id from run)")
    op.create_foreign_key("fk_audit_run_id", "audit", "run", ["run_id"], ["id"], ondelete="CASCADE")
