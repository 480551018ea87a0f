"""Annotations, and the very data that they were made on."""

from __future__ import annotations

import uuid  # noqa: TC003 (SQLAlchemy reads it at run time)
from datetime import datetime  # noqa: TC003 (the same)

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


class AnnotationData(Base):
    """A frame that annotations were made on, kept once under the digest of its content, and never changed."""

    __tablename__ = "annotation_data"

    content_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True, comment="BLAKE2b of the JSON")
    frame: Mapped[bytes] = mapped_column(LargeBinary, comment="an InferenceDataFrame as JSON, zlib")
    stored_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )

    __table_args__ = (
        CheckConstraint("octet_length(content_hash) = 32", name="content_hash"),
        {"comment": "what annotations were made on, each once; never changed"},
    )


class Annotation(Base):
    """One revision of a label; the last one counts, unless it takes the label back."""

    __tablename__ = "annotations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, comment="made by who annotates")
    revision: Mapped[int] = mapped_column(Integer, primary_key=True, comment="from 1; the last one counts")
    symbol: Mapped[str] = mapped_column(Text, comment="canonical BASE/QUOTE")
    timeframes: Mapped[list[int]] = mapped_column(ARRAY(Integer), comment="lengths in seconds")
    start_ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="first time, UTC")
    end_ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="end, exclusive, UTC")
    label: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text, server_default=text("''"))
    author: Mapped[str] = mapped_column(Text, comment="of this revision")
    is_deleted: Mapped[bool] = mapped_column(comment="this revision takes it back")
    content_hash: Mapped[bytes] = mapped_column(LargeBinary, comment="of what it was made on")
    recorded_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )

    __table_args__ = (
        ForeignKeyConstraint(
            ["content_hash"], ["annotation_data.content_hash"], name="fk_annotations_content_hash"
        ),
        CheckConstraint("revision > 0", name="revision"),
        CheckConstraint("symbol ~ '^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$'", name="symbol"),
        CheckConstraint("cardinality(timeframes) > 0", name="timeframes"),
        CheckConstraint("start_ts < end_ts", name="range"),
        CheckConstraint("label <> '' AND author <> ''", name="texts"),
        Index(None, "symbol", "start_ts"),
        {"comment": "labels of time ranges, all revisions of them"},
    )
