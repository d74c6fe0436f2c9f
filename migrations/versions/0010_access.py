"""Passwords, invitations for new people, scoped tokens, sessions one can tell apart, rate limits.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ROLES = ("labeler", "researcher", "operator")
METHODS = ("link", "password", "token", "oidc")


def text_enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=False, length=32)


def time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def upgrade() -> None:
    for name in ("login", "password_hash", "oidc_subject"):
        op.add_column("account", sa.Column(name, sa.String(), nullable=True))
    for name in ("login", "oidc_subject"):
        op.create_unique_constraint(op.f(f"uq_account_{name}"), "account", [name])
    _upgrade_invites()
    _upgrade_tokens()
    _upgrade_sessions()
    op.create_table(
        "rate_limit",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limit")),
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_rate_limit_expires_at"), "rate_limit", ["expires_at"])


def _upgrade_invites() -> None:
    op.alter_column("invite", "account_id", nullable=True)
    op.add_column("invite", sa.Column("role", text_enum("role", *ROLES), nullable=True))
    op.create_check_constraint("role", "invite", f"role in {ROLES}")
    op.add_column("invite", sa.Column("created_by_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_invite_created_by_id"), "invite", "account", ["created_by_id"], ["id"], ondelete="RESTRICT"
    )
    op.add_column("invite", sa.Column("uses_left", sa.Integer(), server_default="1", nullable=False))
    op.execute("update invite set uses_left = 0 where used_at is not null")
    op.create_check_constraint("account_or_role", "invite", "(account_id is null) = (role is not null)")
    op.create_check_constraint("uses_not_negative", "invite", "uses_left >= 0")


def _upgrade_tokens() -> None:
    # Tokens that are there were made when a token might do all that its account may.
    every = "{label,read,manage}"
    op.add_column("api_token", sa.Column("scopes", postgresql.ARRAY(sa.String()), server_default=every, nullable=False))
    op.alter_column("api_token", "scopes", server_default=None)
    op.add_column("api_token", time("expires_at"))
    op.add_column("api_token", time("last_used_at"))


def _upgrade_sessions() -> None:
    op.add_column(
        "web_session", sa.Column("method", text_enum("signinmethod", *METHODS), server_default="link", nullable=False)
    )
    op.alter_column("web_session", "method", server_default=None)
    op.create_check_constraint("signinmethod", "web_session", f"method in {METHODS}")
    op.add_column("web_session", sa.Column("token_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_web_session_token_id"), "web_session", "api_token", ["token_id"], ["id"], ondelete="CASCADE"
    )
    op.create_index(op.f("ix_web_session_token_id"), "web_session", ["token_id"])
    op.add_column("web_session", sa.Column("browser", sa.String(), nullable=True))
    op.add_column("web_session", time("last_seen_at"))


def downgrade() -> None:
    op.drop_table("rate_limit")
    for column in ("last_seen_at", "browser", "token_id", "method"):
        op.drop_column("web_session", column)
    for column in ("last_used_at", "expires_at", "scopes"):
        op.drop_column("api_token", column)
    op.execute("delete from invite where account_id is null")  # the schema before knows no such links
    for column in ("uses_left", "created_by_id", "role"):
        op.drop_column("invite", column)
    op.alter_column("invite", "account_id", nullable=False)
    for column in ("oidc_subject", "password_hash", "login"):
        op.drop_column("account", column)
