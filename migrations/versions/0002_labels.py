"""Checkpoints, samples, comparisons and labels.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RUN_CHECKPOINTS = ("reference_id", "serving_id", "candidate_id", "training_state_id", "reward_model_id")
"""A run names checkpoints and a checkpoint its run: these keys are added once both tables stand."""


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "reference",
                "policy",
                "reward_model",
                "training_state",
                name="checkpointkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("reward_model_id", sa.Uuid(), nullable=True),
        sa.Column("label_set_id", sa.Uuid(), nullable=True),
        sa.Column("episodes", sa.Integer(), nullable=False),
        sa.Column("kl_coef", sa.Double(), nullable=True),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["label_set_id"], ["label_set.id"], name=op.f("fk_checkpoint_label_set_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_parent_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["reward_model_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_reward_model_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_checkpoint_run_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
    )
    op.create_index("ix_checkpoint_run_id_kind", "checkpoint", ["run_id", "kind", "created_at"], unique=False)
    op.create_table(
        "comparison",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("promotion", sa.Integer(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum(
                "train",
                "validation",
                "gold",
                "practice",
                "repeat",
                "evaluation",
                name="purpose",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "ready",
                "labeled",
                "retired",
                "flagged",
                name="comparisonstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["checkpoint.id"], name=op.f("fk_comparison_policy_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_comparison_prompt_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_comparison_run_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
    )
    op.create_index(op.f("ix_comparison_prompt_id"), "comparison", ["prompt_id"], unique=False)
    op.create_index(
        "ix_comparison_run_id_state", "comparison", ["run_id", "state", "promotion", "created_at"], unique=False
    )
    op.create_table(
        "evaluation",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("judge", sa.String(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["checkpoint.id"], name=op.f("fk_evaluation_policy_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_evaluation_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
    )
    op.create_index(op.f("ix_evaluation_run_id"), "evaluation", ["run_id"], unique=False)
    op.create_table(
        "sample",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum(
                "comparison",
                "showcase",
                "generate",
                name="samplepurpose",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("token_ids", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("logprobs", postgresql.ARRAY(sa.Float()), nullable=False),
        sa.Column("kept_tokens", sa.Integer(), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["checkpoint.id"], name=op.f("fk_sample_policy_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_sample_prompt_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_sample_run_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample")),
    )
    op.create_index(op.f("ix_sample_policy_id"), "sample", ["policy_id"], unique=False)
    op.create_index(op.f("ix_sample_prompt_id"), "sample", ["prompt_id"], unique=False)
    op.create_index("ix_sample_run_id_purpose", "sample", ["run_id", "purpose", "created_at"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("comparison_id", sa.Uuid(), nullable=False),
        sa.Column("labeler_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "leased",
                "answered",
                "expired",
                name="assignmentstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("shown", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_assignment_comparison_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["labeler_id"], ["account.id"], name=op.f("fk_assignment_labeler_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
    )
    op.create_index(
        "ix_assignment_comparison_id_labeler_id", "assignment", ["comparison_id", "labeler_id"], unique=False
    )
    op.create_index("ix_assignment_labeler_id_state", "assignment", ["labeler_id", "state"], unique=False)
    op.create_index(
        "uq_assignment_leased_comparison",
        "assignment",
        ["comparison_id"],
        unique=True,
        postgresql_where="state = 'leased'",
    )
    op.create_table(
        "comparison_sample",
        sa.Column("comparison_id", sa.Uuid(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("slot >= 0", name=op.f("ck_comparison_sample_slot_not_negative")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_comparison_sample_comparison_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name=op.f("fk_comparison_sample_sample_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("comparison_id", "slot", name=op.f("pk_comparison_sample")),
        sa.UniqueConstraint("comparison_id", "sample_id", name=op.f("uq_comparison_sample_comparison_id_sample_id")),
    )
    op.create_index(op.f("ix_comparison_sample_sample_id"), "comparison_sample", ["sample_id"], unique=False)
    op.create_table(
        "sample_score",
        sa.Column("sample_id", sa.Uuid(), nullable=False),
        sa.Column("reward_model_id", sa.Uuid(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["reward_model_id"], ["checkpoint.id"], name=op.f("fk_sample_score_reward_model_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name=op.f("fk_sample_score_sample_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sample_id", "reward_model_id", name=op.f("pk_sample_score")),
    )
    op.create_index(op.f("ix_sample_score_reward_model_id"), "sample_score", ["reward_model_id"], unique=False)
    op.create_table(
        "label",
        sa.Column("comparison_id", sa.Uuid(), nullable=False),
        sa.Column("labeler_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column(
            "verdict",
            sa.Enum(
                "best",
                "tie",
                "none",
                "skip",
                "undone",
                name="verdict",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("chosen_sample_id", sa.Uuid(), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("guideline_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(verdict = 'best') = (chosen_sample_id is not null)", name=op.f("ck_label_best_names_a_sample")
        ),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name=op.f("fk_label_assignment_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["chosen_sample_id"], ["sample.id"], name=op.f("fk_label_chosen_sample_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_label_comparison_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["guideline_id"], ["guideline.id"], name=op.f("fk_label_guideline_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["labeler_id"], ["account.id"], name=op.f("fk_label_labeler_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.UniqueConstraint(
            "comparison_id", "labeler_id", "revision", name=op.f("uq_label_comparison_id_labeler_id_revision")
        ),
        sa.UniqueConstraint("labeler_id", "idempotency_key", name=op.f("uq_label_labeler_id_idempotency_key")),
    )
    op.create_index(op.f("ix_label_assignment_id"), "label", ["assignment_id"], unique=False)
    op.create_index("ix_label_labeler_id_created_at", "label", ["labeler_id", "created_at"], unique=False)
    op.create_table(
        "label_set_item",
        sa.Column("label_set_id", sa.Uuid(), nullable=False),
        sa.Column("label_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_id"], ["label.id"], name=op.f("fk_label_set_item_label_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["label_set_id"], ["label_set.id"], name=op.f("fk_label_set_item_label_set_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("label_set_id", "label_id", name=op.f("pk_label_set_item")),
    )
    op.create_index(op.f("ix_label_set_item_label_id"), "label_set_item", ["label_id"], unique=False)
    for column in RUN_CHECKPOINTS:
        op.create_foreign_key(op.f(f"fk_run_{column}"), "run", "checkpoint", [column], ["id"])


def downgrade() -> None:
    for column in RUN_CHECKPOINTS:
        op.drop_constraint(op.f(f"fk_run_{column}"), "run", type_="foreignkey")
    op.drop_index(op.f("ix_label_set_item_label_id"), table_name="label_set_item")
    op.drop_table("label_set_item")
    op.drop_index("ix_label_labeler_id_created_at", table_name="label")
    op.drop_index(op.f("ix_label_assignment_id"), table_name="label")
    op.drop_table("label")
    op.drop_index(op.f("ix_sample_score_reward_model_id"), table_name="sample_score")
    op.drop_table("sample_score")
    op.drop_index(op.f("ix_comparison_sample_sample_id"), table_name="comparison_sample")
    op.drop_table("comparison_sample")
    op.drop_index("uq_assignment_leased_comparison", table_name="assignment", postgresql_where="state = 'leased'")
    op.drop_index("ix_assignment_labeler_id_state", table_name="assignment")
    op.drop_index("ix_assignment_comparison_id_labeler_id", table_name="assignment")
    op.drop_table("assignment")
    op.drop_index("ix_sample_run_id_purpose", table_name="sample")
    op.drop_index(op.f("ix_sample_prompt_id"), table_name="sample")
    op.drop_index(op.f("ix_sample_policy_id"), table_name="sample")
    op.drop_table("sample")
    op.drop_index(op.f("ix_evaluation_run_id"), table_name="evaluation")
    op.drop_table("evaluation")
    op.drop_index("ix_comparison_run_id_state", table_name="comparison")
    op.drop_index(op.f("ix_comparison_prompt_id"), table_name="comparison")
    op.drop_table("comparison")
    op.drop_index("ix_checkpoint_run_id_kind", table_name="checkpoint")
    op.drop_table("checkpoint")
