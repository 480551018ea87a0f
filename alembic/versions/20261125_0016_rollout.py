"""Ledger of migrations from Parquet, and the phases of the switch to the database.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
RUN_STATES = "state IN ('running', 'done', 'failed', 'rolled_back')"
FILE_STATES = "state IN ('running', 'migrated', 'verified', 'failed', 'rolled_back', 'archived')"


def count(name: str, comment: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment=comment)


def upgrade() -> None:
    op.create_table(
        "migration_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False, comment="cache folder, as an absolute path"),
        sa.Column("on_conflict", sa.Text(), nullable=False, comment="keep, prefer_file or fail"),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("started_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.Column("finished_at", MOMENT, nullable=True, comment="UTC; NULL while it runs"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_migration_runs")),
        sa.CheckConstraint(
            "on_conflict IN ('keep', 'prefer_file', 'fail')", name=op.f("ck_migration_runs_on_conflict")
        ),
        sa.CheckConstraint(RUN_STATES, name=op.f("ck_migration_runs_state")),
        comment="runs of the migration from Parquet",
    )
    op.create_table(
        "migration_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="below the folder of the run"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the whole file"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="candle, trade or order_book"),
        sa.Column("symbol", sa.Text(), nullable=False, comment="canonical"),
        sa.Column("timeframe", sa.Integer(), nullable=True, comment="length in seconds; NULL: no candles"),
        sa.Column("rows_per_piece", sa.Integer(), nullable=False, comment="rows of a transaction"),
        sa.Column(
            "as_of", MOMENT, nullable=False, comment="candles that were closed by then were taken, UTC"
        ),
        sa.Column("row_count", sa.BigInteger(), nullable=False, comment="rows in the file"),
        sa.Column("first_ts", MOMENT, nullable=True, comment="first time in the file, UTC"),
        sa.Column("last_ts", MOMENT, nullable=True, comment="last time in the file, UTC"),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("message", sa.Text(), nullable=True, comment="why it failed"),
        sa.Column("finished_at", MOMENT, nullable=True, comment="of its last change of state, UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_migration_files")),
        sa.ForeignKeyConstraint(["run_id"], ["migration_runs.id"], name=op.f("fk_migration_files_run_id")),
        sa.UniqueConstraint("run_id", "path", name=op.f("uq_migration_files_run_id_path")),
        sa.CheckConstraint(FILE_STATES, name=op.f("ck_migration_files_state")),
        comment="files of a run, with what they held when they were read",
    )
    op.create_index(op.f("ix_migration_files_sha256"), "migration_files", ["sha256"])
    op.create_table(
        "migration_pieces",
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="in the order of time, from 0"),
        count("inserted", "rows whose key was new"),
        count("overwritten", "rows that replaced stored ones"),
        count("unchanged", "rows that were stored already with the same values"),
        count("kept", "rows that were passed over, since the stored ones say something else"),
        count("forming", "candles that were not closed when the file was written"),
        count("repeated", "rows that repeat another row of the file, or are an earlier revision of it"),
        count("rejected", "rows in quarantine"),
        sa.Column("price_scale", sa.SmallInteger(), nullable=False, comment="of the rows below"),
        sa.Column("size_scale", sa.SmallInteger(), nullable=False, comment="of the rows below"),
        sa.Column("first_ts", MOMENT, nullable=True, comment="first time of the rows below, UTC"),
        sa.Column("last_ts", MOMENT, nullable=True, comment="last time of the rows below, UTC"),
        sa.Column(
            "inserted_rows", sa.LargeBinary(), nullable=True, comment="binary COPY stream, zstd; -1: NULL"
        ),
        sa.Column("replaced_rows", sa.LargeBinary(), nullable=True, comment="as they were before, likewise"),
        sa.Column("replacing_rows", sa.LargeBinary(), nullable=True, comment="what replaced them, likewise"),
        sa.Column("kept_rows", sa.LargeBinary(), nullable=True, comment="what was passed over, likewise"),
        sa.Column("committed_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("file_id", "number", name=op.f("pk_migration_pieces")),
        sa.ForeignKeyConstraint(
            ["file_id"], ["migration_files.id"], name=op.f("fk_migration_pieces_file_id")
        ),
        comment="transactions of a file, with what it takes to undo them exactly",
    )
    op.create_table(
        "rollout_phases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "phase", sa.SmallInteger(), nullable=False, comment="0 to 6; the last row is the present one"
        ),
        sa.Column("entered_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.Column("note", sa.Text(), nullable=False, comment="what was checked"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_phases")),
        sa.CheckConstraint("phase BETWEEN 0 AND 6", name=op.f("ck_rollout_phases_phase")),
        comment="history of the switch from Parquet to the database",
    )
    op.create_table(
        "shadow_reads",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("read_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.Column("symbol", sa.Text(), nullable=False, comment="canonical"),
        sa.Column("timeframe", sa.Integer(), nullable=False, comment="length in seconds"),
        sa.Column("compared", sa.BigInteger(), nullable=False, comment="rows that either side has"),
        sa.Column(
            "different", sa.BigInteger(), nullable=False, comment="rows that the sides do not agree on"
        ),
        sa.Column("detail", sa.Text(), nullable=True, comment="the first that differs; NULL: none"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_reads")),
        comment="reads that were made from Parquet and from the database, and compared",
    )
    op.create_index(op.f("ix_shadow_reads_read_at"), "shadow_reads", ["read_at"])


def downgrade() -> None:
    op.drop_table("shadow_reads")
    for table in ("rollout_phases", "migration_pieces", "migration_files", "migration_runs"):
        op.drop_table(table)
