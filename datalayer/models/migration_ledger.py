"""The ledger of migrations from Parquet: runs, their files, and the transactions of each file."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


def _moment(comment: str, **options: Any) -> Any:
    return mapped_column(DateTime(timezone=True), comment=comment, **options)


def _count(comment: str) -> Any:
    return mapped_column(BigInteger, server_default=text("0"), comment=comment)


class MigrationRun(Base):
    """One run of the migration over a cache folder."""

    __tablename__ = "migration_runs"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    folder: Mapped[str] = mapped_column(Text, comment="cache folder, as an absolute path")
    on_conflict: Mapped[str] = mapped_column(Text, comment="keep, prefer_file or fail")
    state: Mapped[str] = mapped_column(Text, server_default=text("'running'"))
    started_at: Mapped[datetime] = _moment("UTC", server_default=text("now()"))
    finished_at: Mapped[datetime | None] = _moment("UTC; NULL while it runs")

    __table_args__ = (
        CheckConstraint("on_conflict IN ('keep', 'prefer_file', 'fail')", name="on_conflict"),
        CheckConstraint("state IN ('running', 'done', 'failed', 'rolled_back')", name="state"),
        {"comment": "runs of the migration from Parquet"},
    )


class MigrationFile(Base):
    """One file of a run."""

    __tablename__ = "migration_files"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text, comment="below the folder of the run")
    sha256: Mapped[str] = mapped_column(Text, comment="of the whole file")
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text, comment="candle, trade or order_book")
    symbol: Mapped[str] = mapped_column(Text, comment="canonical")
    timeframe: Mapped[int | None] = mapped_column(Integer, comment="length in seconds; NULL: no candles")
    rows_per_piece: Mapped[int] = mapped_column(Integer, comment="rows of a transaction")
    as_of: Mapped[datetime] = _moment("candles that were closed by then were taken, UTC")
    row_count: Mapped[int] = mapped_column(BigInteger, comment="rows in the file")
    first_ts: Mapped[datetime | None] = _moment("first time in the file, UTC")
    last_ts: Mapped[datetime | None] = _moment("last time in the file, UTC")
    state: Mapped[str] = mapped_column(Text, server_default=text("'running'"))
    message: Mapped[str | None] = mapped_column(Text, comment="why it failed")
    finished_at: Mapped[datetime | None] = _moment("of its last change of state, UTC")

    __table_args__ = (
        ForeignKeyConstraint(["run_id"], ["migration_runs.id"], name="fk_migration_files_run_id"),
        UniqueConstraint("run_id", "path", name="uq_migration_files_run_id_path"),
        CheckConstraint(
            "state IN ('running', 'migrated', 'verified', 'failed', 'rolled_back', 'archived')", name="state"
        ),
        Index(None, "sha256"),
        {"comment": "files of a run, with what they held when they were read"},
    )


class MigrationPiece(Base):
    """One transaction of a file: what it did, and what it takes to undo exactly that."""

    __tablename__ = "migration_pieces"

    file_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(
        Integer, primary_key=True, autoincrement=False, comment="in the order of time, from 0"
    )
    inserted: Mapped[int] = _count("rows whose key was new")
    overwritten: Mapped[int] = _count("rows that replaced stored ones")
    unchanged: Mapped[int] = _count("rows that were stored already with the same values")
    kept: Mapped[int] = _count("rows that were passed over, since the stored ones say something else")
    forming: Mapped[int] = _count("candles that were not closed when the file was written")
    repeated: Mapped[int] = _count(
        "rows that repeat another row of the file, or are an earlier revision of it"
    )
    rejected: Mapped[int] = _count("rows in quarantine")
    price_scale: Mapped[int] = mapped_column(SmallInteger, comment="of the rows below")
    size_scale: Mapped[int] = mapped_column(SmallInteger, comment="of the rows below")
    first_ts: Mapped[datetime | None] = _moment("first time of the rows below, UTC")
    last_ts: Mapped[datetime | None] = _moment("last time of the rows below, UTC")
    inserted_rows: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="binary COPY stream, zstd; -1: NULL"
    )
    replaced_rows: Mapped[bytes | None] = mapped_column(LargeBinary, comment="as they were before, likewise")
    replacing_rows: Mapped[bytes | None] = mapped_column(LargeBinary, comment="what replaced them, likewise")
    kept_rows: Mapped[bytes | None] = mapped_column(LargeBinary, comment="what was passed over, likewise")
    committed_at: Mapped[datetime] = _moment("UTC", server_default=text("now()"))

    __table_args__ = (
        ForeignKeyConstraint(["file_id"], ["migration_files.id"], name="fk_migration_pieces_file_id"),
        {"comment": "transactions of a file, with what it takes to undo them exactly"},
    )
