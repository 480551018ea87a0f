"""Annotations, and the very data that they were made on.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
SYMBOL = "symbol ~ '^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$'"


def upgrade() -> None:
    op.create_table(
        "annotation_data",
        sa.Column("content_hash", sa.LargeBinary(), nullable=False, comment="BLAKE2b of the JSON"),
        sa.Column("frame", sa.LargeBinary(), nullable=False, comment="an InferenceDataFrame as JSON, zlib"),
        sa.Column("stored_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("content_hash", name=op.f("pk_annotation_data")),
        sa.CheckConstraint("octet_length(content_hash) = 32", name=op.f("ck_annotation_data_content_hash")),
        comment="what annotations were made on, each once; never changed",
    )
    op.create_table(
        "annotations",
        sa.Column("id", sa.Uuid(), nullable=False, comment="made by who annotates"),
        sa.Column("revision", sa.Integer(), nullable=False, comment="from 1; the last one counts"),
        sa.Column("symbol", sa.Text(), nullable=False, comment="canonical BASE/QUOTE"),
        sa.Column("timeframes", postgresql.ARRAY(sa.Integer()), nullable=False, comment="lengths in seconds"),
        sa.Column("start_ts", MOMENT, nullable=False, comment="first time, UTC"),
        sa.Column("end_ts", MOMENT, nullable=False, comment="end, exclusive, UTC"),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("author", sa.Text(), nullable=False, comment="of this revision"),
        sa.Column("is_deleted", sa.Boolean(), nullable=False, comment="this revision takes it back"),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False, comment="of what it was made on"),
        sa.Column("recorded_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", "revision", name=op.f("pk_annotations")),
        sa.ForeignKeyConstraint(
            ["content_hash"], ["annotation_data.content_hash"], name=op.f("fk_annotations_content_hash")
        ),
        sa.CheckConstraint("revision > 0", name=op.f("ck_annotations_revision")),
        sa.CheckConstraint(SYMBOL, name=op.f("ck_annotations_symbol")),
        sa.CheckConstraint("cardinality(timeframes) > 0", name=op.f("ck_annotations_timeframes")),
        sa.CheckConstraint("start_ts < end_ts", name=op.f("ck_annotations_range")),
        sa.CheckConstraint("label <> '' AND author <> ''", name=op.f("ck_annotations_texts")),
        comment="labels of time ranges, all revisions of them",
    )
    op.create_index(op.f("ix_annotations_symbol_start_ts"), "annotations", ["symbol", "start_ts"])


def downgrade() -> None:
    op.drop_table("annotations")
    op.drop_table("annotation_data")
