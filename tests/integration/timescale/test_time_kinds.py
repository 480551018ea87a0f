"""Buckets of a timezone, of months, from an origin; time columns of other types, and one declared nullable."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Date, DateTime, Double, MetaData, Table, cast, func, literal, select

from datalayer.errors import ConfigurationError
from datalayer.timescale import Hypertable, RangeDimension, continuous_aggregate, find_hypertable, time_bucket
from tests.integration.timescale.declared import FILL, readings, refresh

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

ORIGIN = cast(literal(datetime(2000, 1, 1, 6, tzinfo=UTC).isoformat()), DateTime(timezone=True))
BUCKETS: dict[str, dict[str, Any]] = {
    "day of Kolkata": {"width": "1 day", "timezone": "Asia/Kolkata"},
    "month": {"width": "1 month"},
    "month of New York": {"width": "1 month", "timezone": "America/New_York"},
    "day from six o'clock": {"width": "1 day", "origin": ORIGIN},
}


def declare(function: str, *, materialized_only: bool, width: str, **options: Any) -> MetaData:
    metadata = MetaData()
    c = readings(metadata).c
    bucket = time_bucket(width, c.ts, **options)
    definition = select(
        c.device, bucket.label("ts"), getattr(func, function)(c.value).label("value")
    ).group_by(c.device, bucket)
    continuous_aggregate("rolled_up", metadata, definition, materialized_only=materialized_only)
    return metadata


def values(project: AlembicProject) -> list[Any]:
    return [tuple(row) for row in project.rows("SELECT ts, device, value FROM rolled_up ORDER BY ts, device")]


@pytest.mark.parametrize("materialized_only", [True, False], ids=["materialized only", "real-time"])
@pytest.mark.parametrize("name", BUCKETS)
def test_round_trip_of_a_bucket(project: AlembicProject, name: str, materialized_only: bool) -> None:
    before = project.traces()
    declared = {"materialized_only": materialized_only, **BUCKETS[name]}
    project.migrate(declare("max", **declared))
    project.execute(FILL, *refresh("rolled_up"))
    largest = values(project)
    assert largest
    project.migrate(declare("min", **declared))
    assert [row[:2] for row in values(project)] == [row[:2] for row in largest]
    project.downgrade("-1")
    assert project.differences(declare("max", **declared)) == []
    assert values(project) == largest
    project.downgrade("-1")
    assert project.traces() == before


@pytest.mark.parametrize("kind", [DateTime(), Date()], ids=["timestamp", "date"])
def test_round_trip_of_a_time_without_timezone(project: AlembicProject, kind: Any) -> None:
    def declared(function: str) -> MetaData:
        metadata = MetaData()
        table = Table(
            "events",
            metadata,
            Column("ts", kind, primary_key=True),
            Column("value", Double),
            Hypertable("ts", chunk_interval="1 day"),
        )
        bucket = time_bucket("2 days", table.c.ts)
        definition = select(
            bucket.label("ts"), getattr(func, function)(table.c.value).label("value")
        ).group_by(bucket)
        continuous_aggregate("rolled_up", metadata, definition, materialized_only=True)
        return metadata

    before = project.traces()
    project.migrate(declared("max"))
    project.execute(
        "INSERT INTO events SELECT ts, extract(day FROM ts) FROM generate_series(TIMESTAMP '2024-03-01', '2024-03-09', INTERVAL '1 day') AS ts",
        *refresh("rolled_up"),
    )
    query = "SELECT ts, value FROM rolled_up ORDER BY ts"
    largest = project.rows(query)
    project.migrate(declared("min"))
    assert [row.ts for row in project.rows(query)] == [row.ts for row in largest]
    assert project.rows(query) != largest
    project.downgrade("-1")
    assert project.rows(query) == largest
    project.downgrade("-1")
    assert project.traces() == before


@pytest.mark.parametrize(
    ("column", "further"), [("ts", {}), ("value", {"dimensions": [RangeDimension("value", 10)]})]
)
def test_a_nullable_time_column_is_refused(column: str, further: dict[str, Any]) -> None:
    """TimescaleDB would make it NOT NULL, and every comparison from then on would find that."""
    metadata = MetaData()
    nullable = {"ts": column == "ts", "value": column == "value"}
    table = Table(
        "events",
        metadata,
        Column("ts", DateTime(timezone=True), nullable=nullable["ts"]),
        Column("value", Double, nullable=nullable["value"]),
        Hypertable("ts", **further),
    )
    with pytest.raises(ConfigurationError, match=f"hypertable events: column '{column}' .* nullable=False"):
        find_hypertable(table)
