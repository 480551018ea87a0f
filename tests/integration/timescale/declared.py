"""Models that tests declare: a table of readings, and aggregates over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, DateTime, Double, Integer, MetaData, Table, func, select

from datalayer.timescale import Compression, Hypertable, continuous_aggregate, time_bucket

if TYPE_CHECKING:
    from sqlalchemy.schema import SchemaItem

BY_DEVICE = Compression(segment_by=["device"], order_by=["ts DESC"])
FILL = """
    INSERT INTO readings (ts, device, value)
    SELECT ts, device, extract(epoch FROM ts)::bigint % 97 + device
    FROM generate_series(TIMESTAMPTZ '2024-03-01', TIMESTAMPTZ '2024-03-05 23:50Z', INTERVAL '10 minutes') AS ts, generate_series(1, 3) AS device
"""
ROWS = 5 * 144 * 3
ALL = "SELECT ts, device, value FROM readings ORDER BY ts, device"


def readings(metadata: MetaData, *items: SchemaItem, hypertable: Any = (), **arguments: Any) -> Table:
    """A hypertable with chunks of a day; `hypertable` are further arguments of it, None for a plain table."""
    further = (
        []
        if hypertable is None
        else [Hypertable(**{"time_column": "ts", "chunk_interval": "1 day", **dict(hypertable)})]
    )
    return Table(
        "readings",
        metadata,
        Column("ts", DateTime(timezone=True), primary_key=True),
        Column("device", Integer, primary_key=True),
        Column("value", Double),
        *items,
        *further,
        **arguments,
    )


def rolled_up(source: Table, name: str, width: str, function: str = "max", **arguments: Any) -> Table:
    """An aggregate of `source` by device."""
    c, bucket = source.c, time_bucket(width, source.c.ts)
    return continuous_aggregate(
        name,
        arguments.pop("metadata", source.metadata),
        select(
            c.device,
            bucket.label("ts"),
            getattr(func, function)(c.value).label("value"),
            *arguments.pop("columns", ()),
        ).group_by(c.device, bucket),
        **{"materialized_only": True, **arguments},
    )


def refresh(*names: str) -> list[str]:
    return [f"CALL refresh_continuous_aggregate('{name}', NULL, NULL)" for name in names]


def compress(name: str) -> str:
    return f"SELECT compress_chunk(chunk) FROM show_chunks('{name}') AS chunk"
