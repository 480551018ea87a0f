"""Names that need quotes, schemas that are not the first of the search path, and both at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, DateTime, Double, ForeignKey, Integer, MetaData, Table, func, select

from datalayer.timescale import (
    Compression,
    CompressionPolicy,
    HashDimension,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    continuous_aggregate,
    time_bucket,
)
from datalayer.timescale.quoting import qualified, regclass

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

TABLE, HOURLY, DAILY = 'Readings "of" 50%', "Hourly: it's", 'daily "Max" %s'
TIME, DEVICE, VALUE = "Time", 'Device: "id"', "Value in %"
COMMENT = 'it\'s 100% of :it, "quoted" and \\ escaped %(x)s'


def declare(
    schema: str | None = None, function: str = "max", every: str = "1 hour", keep: str = "90 days"
) -> MetaData:
    metadata = MetaData()
    prefix = f"{schema}." if schema else ""
    Table("Devices", metadata, Column("id", Integer, primary_key=True), schema=schema)
    compression = Compression(segment_by=[DEVICE], order_by=[f"{TIME} DESC"])
    table = Table(
        TABLE,
        metadata,
        Column(TIME, DateTime(timezone=True), primary_key=True),
        Column(DEVICE, ForeignKey(f"{prefix}Devices.id"), primary_key=True),
        Column(VALUE, Double, comment=COMMENT),
        Hypertable(
            TIME,
            chunk_interval="1 day",
            dimensions=[HashDimension(DEVICE, 2)],
            compression=compression,
            policies=[CompressionPolicy(compress_after="40 days"), RetentionPolicy(drop_after=keep)],
        ),
        schema=schema,
        comment=COMMENT,
    )
    source = table
    for name, width in ((HOURLY, "1 hour"), (DAILY, "1 day")):
        c = source.c
        bucket = time_bucket(width, c[TIME])
        source = continuous_aggregate(
            name,
            metadata,
            select(c[DEVICE], bucket.label(TIME), getattr(func, function)(c[VALUE]).label(VALUE)).group_by(
                c[DEVICE], bucket
            ),
            materialized_only=True,
            schema=schema,
            compression=compression,
            comment=COMMENT,
            policies=[
                RefreshPolicy(start_offset="10 days", end_offset="1 day", schedule_interval=every),
                CompressionPolicy(compress_after="40 days"),
            ],
        )
    return metadata


def fill(project: AlembicProject, schema: str | None) -> None:
    devices, table = qualified("Devices", schema), qualified(TABLE, schema)
    project.execute(
        f"INSERT INTO {devices} VALUES (1), (2)",
        f"INSERT INTO {table} SELECT ts, device, device FROM generate_series(TIMESTAMPTZ '2024-01-01Z', '2024-01-03Z', INTERVAL '10 minutes') AS ts, generate_series(1, 2) AS device",
        *(
            f"CALL refresh_continuous_aggregate({regclass(name, schema)}, NULL, NULL)"
            for name in (HOURLY, DAILY)
        ),
        *(
            f"SELECT compress_chunk(chunk) FROM show_chunks({regclass(name, schema)}) AS chunk"
            for name in (TABLE, HOURLY, DAILY)
        ),
    )


def rows(project: AlembicProject, schema: str | None) -> list[object]:
    return [
        project.rows(f"SELECT * FROM {qualified(name, schema)} ORDER BY 1, 2")
        for name in (TABLE, HOURLY, DAILY)
    ]


def round_trip(project: AlembicProject, schema: str | None) -> None:
    before = project.traces()
    project.migrate(declare(schema))
    fill(project, schema)
    filled = rows(project, schema)
    project.migrate(declare(schema, every="2 hours", keep="100 days"))
    assert rows(project, schema) == filled
    project.migrate(declare(schema, "min", every="2 hours", keep="100 days"))
    assert rows(project, schema) == filled, "of equal values the smallest is the largest"
    project.downgrade("-1")
    project.downgrade("-1")
    assert project.differences(declare(schema)) == []
    assert rows(project, schema) == filled

    project.downgrade("-1")
    assert project.traces() == before


@pytest.mark.parametrize("own_schema", ["own", 'My "Own" 50%: it\'s'])
def test_round_trip_in_the_first_schema_of_the_search_path(project: AlembicProject) -> None:
    round_trip(project, None)


@pytest.mark.parametrize("search_path", ["public"])
@pytest.mark.parametrize("own_schema", ["own", 'My "Own" 50%: schema'])
def test_round_trip_in_a_schema_that_is_declared(project: AlembicProject) -> None:
    project.include_schemas = (project.schema,)
    round_trip(project, project.schema)


def over_two_schemas(lower: str, upper: str, function: str) -> MetaData:
    """A table and an aggregate in one schema, read by an aggregate in another."""
    metadata = MetaData()
    source = Table(
        TABLE,
        metadata,
        Column(TIME, DateTime(timezone=True), primary_key=True),
        Column(VALUE, Double),
        Hypertable(TIME, chunk_interval="1 day"),
        schema=lower,
    )
    for schema, name, width in ((lower, HOURLY, "1 hour"), (upper, DAILY, "1 day")):
        bucket = time_bucket(width, source.c[TIME])
        definition = select(
            bucket.label(TIME), getattr(func, function)(source.c[VALUE]).label(VALUE)
        ).group_by(bucket)
        source = continuous_aggregate(name, metadata, definition, materialized_only=True, schema=schema)
    return metadata


@pytest.mark.parametrize("search_path", ["public"])
def test_round_trip_of_a_hierarchy_over_two_schemas(project: AlembicProject) -> None:
    lower, upper = project.schema, f"{project.schema} Upper"
    project.include_schemas = (lower, upper)
    before = project.traces()
    project.execute(f"CREATE SCHEMA {qualified(upper)}")
    daily = f"SELECT * FROM {qualified(DAILY, upper)} ORDER BY 1"
    try:
        project.migrate(over_two_schemas(lower, upper, "max"))
        project.execute(
            f"INSERT INTO {qualified(TABLE, lower)} SELECT ts, extract(hour FROM ts) FROM generate_series(TIMESTAMPTZ '2024-01-01Z', '2024-01-02 23:00Z', INTERVAL '1 hour') AS ts",
            *(
                f"CALL refresh_continuous_aggregate({regclass(name, schema)}, NULL, NULL)"
                for name, schema in ((HOURLY, lower), (DAILY, upper))
            ),
        )
        assert [row[1] for row in project.rows(daily)] == [23, 23]
        project.migrate(over_two_schemas(lower, upper, "min"))
        assert [row[1] for row in project.rows(daily)] == [0, 0]
        project.downgrade("-1")
        assert project.differences(over_two_schemas(lower, upper, "max")) == []
        assert [row[1] for row in project.rows(daily)] == [23, 23]
        project.downgrade("-1")
    finally:
        project.execute(f"DROP SCHEMA {qualified(upper)} CASCADE")
    assert project.traces() == before


def test_two_schemas_do_not_see_each_other(project: AlembicProject) -> None:
    """Equal names in another schema are none of the business of a project that compares one."""
    project.execute(
        "CREATE SCHEMA other_own",
        f"CREATE TABLE other_own.{qualified(TABLE)} (ts timestamptz NOT NULL)",
        f"SELECT create_hypertable('other_own.{qualified(TABLE)}', by_range('ts'))",
        f"CREATE MATERIALIZED VIEW other_own.{qualified(DAILY)} WITH (timescaledb.continuous, timescaledb.materialized_only = true)"
        f" AS SELECT time_bucket('1 day', ts), count(*) FROM other_own.{qualified(TABLE)} GROUP BY 1 WITH NO DATA",
    )
    try:
        round_trip(project, None)
    finally:
        project.execute("DROP SCHEMA other_own CASCADE")
