"""What counts as lost when a definition is replaced, and what does not; on buckets and chunks that do not line up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import BigInteger, Column, Double, MetaData, Table, func, select

from datalayer.errors import MigrationError
from datalayer.timescale import Hypertable, continuous_aggregate, time_bucket
from tests.integration.timescale.declared import readings, refresh, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

ROLLED_UP = "SELECT ts, device, value FROM rolled_up ORDER BY ts, device"


def declare(function: str = "max", width: str = "1 day", **arguments: Any) -> MetaData:
    metadata = MetaData()
    table = readings(metadata, hypertable={"chunk_interval": arguments.pop("chunk_interval", "1 day")})
    rolled_up(table, "rolled_up", width, function, **arguments)
    return metadata


def start(project: AlembicProject, begin: str = "2024-03-01Z", **declared: Any) -> None:
    """Readings every six hours over ten days from `begin`."""
    project.migrate(declare(**declared))
    project.execute(
        f"INSERT INTO readings SELECT ts, 1, extract(epoch FROM ts)::bigint % 97 FROM generate_series(TIMESTAMPTZ '{begin}',"
        f" TIMESTAMPTZ '{begin}' + INTERVAL '10 days', INTERVAL '6 hours') AS ts",
        *refresh("rolled_up"),
    )


def drop_chunks(project: AlembicProject, before: str) -> None:
    project.execute(f"SELECT drop_chunks('readings', TIMESTAMPTZ '{before}')")


def refused(project: AlembicProject, words: str, **declared: Any) -> None:
    rows = project.rows(ROLLED_UP)
    project.autogenerate(declare("min", **declared))
    with pytest.raises(MigrationError, match=words):
        project.upgrade()
    assert project.rows(ROLLED_UP) == rows
    assert project.differences(declare(**declared)) == []


@pytest.mark.parametrize("materialized_only", [True, False])
@pytest.mark.parametrize("begin", ["2024-03-01Z", "2024-03-01 18:00Z"])
@pytest.mark.parametrize("width", ["6 hours", "1 day", "7 days", "1 month"])
def test_nothing_is_lost_where_nothing_was_dropped(
    project: AlembicProject, begin: str, width: str, materialized_only: bool
) -> None:
    declared: dict[str, Any] = {"width": width, "materialized_only": materialized_only}
    start(project, begin, **declared)
    rows = project.rows(ROLLED_UP)
    project.migrate(declare("min", **declared))
    project.downgrade("-1")
    assert project.differences(declare(**declared)) == []
    assert project.rows(ROLLED_UP) == rows


@pytest.mark.parametrize(
    ("width", "words"),
    [
        ("1 day", "4 rows of buckets from 2024-03-01 .* to 2024-03-04"),
        ("7 days", "1 rows of buckets from 2024-02-26"),
        ("1 month", "1 rows of buckets from 2024-03-01"),
    ],
)
def test_a_bucket_of_which_only_the_beginning_was_dropped_is_lost(
    project: AlembicProject, width: str, words: str
) -> None:
    # All but the last value of a bucket was in the chunks that go.
    start(project, width=width)
    project.execute("UPDATE readings SET value = 1000 WHERE ts < '2024-03-02Z'", *refresh("rolled_up"))
    drop_chunks(project, "2024-03-05Z")
    refused(project, words, width=width)


def test_late_rows_that_are_not_refreshed_yet_are_no_loss(project: AlembicProject) -> None:
    start(project, "2024-03-01 18:00Z")
    project.execute(
        "INSERT INTO readings VALUES ('2024-03-01 20:00Z', 1, 5000), ('2024-03-05 20:00Z', 1, 5000), ('2024-03-06 20:00Z', 2, 5000)"
    )
    project.migrate(declare("min"))


def test_a_gap_in_the_data_is_no_loss(project: AlembicProject) -> None:
    start(project)
    project.execute(
        "INSERT INTO readings VALUES ('2024-04-01 20:00Z', 1, 7), ('2024-04-11 20:00Z', 1, 7)",
        *refresh("rolled_up"),
        "INSERT INTO readings VALUES ('2024-04-01 21:00Z', 1, 5000), ('2024-03-11 21:00Z', 1, 5000)",
    )
    project.migrate(declare("min"))


def test_a_column_may_be_called_as_the_bucket_is_in_the_search(project: AlembicProject) -> None:
    def declared(function: str) -> MetaData:
        metadata = MetaData()
        c = readings(metadata).c
        bucket = time_bucket("1 day", c.ts)
        columns = [bucket.label("bucket"), getattr(func, function)(c.value).label("n")]
        continuous_aggregate("rolled_up", metadata, select(*columns).group_by(bucket), materialized_only=True)
        return metadata

    project.migrate(declared("max"))
    project.execute(
        "INSERT INTO readings SELECT ts, 1, 1 FROM generate_series(TIMESTAMPTZ '2024-03-01Z', '2024-03-09Z', INTERVAL '1 day') AS ts",
        *refresh("rolled_up"),
    )
    project.migrate(declared("min"))
    drop_chunks(project, "2024-03-05Z")
    project.autogenerate(declared("max"))
    with pytest.raises(
        MigrationError, match=r"rolled_up holds 4 rows of buckets from 2024-03-01 .* to 2024-03-04"
    ):
        project.upgrade()


def test_rows_deleted_from_the_source_are_lost_with_a_value_of_their_own(project: AlembicProject) -> None:
    start(project)
    project.execute("DELETE FROM readings WHERE ts >= '2024-03-04Z' AND ts < '2024-03-06Z'")
    refused(project, "rolled_up holds 2 rows of buckets from 2024-03-04 .* to 2024-03-05")


def test_an_integer_time_column(project: AlembicProject) -> None:
    def declared(function: str | None) -> MetaData:
        metadata = MetaData()
        table = Table(
            "numbers",
            metadata,
            Column("ts", BigInteger, primary_key=True, autoincrement=False),
            Column("device", BigInteger, primary_key=True, autoincrement=False),
            Column("value", Double),
            Hypertable("ts", chunk_interval=100),
        )
        if function is not None:
            rolled_up(table, "rolled_up", 30, function)  # type: ignore[arg-type]
        return metadata

    expected = "SELECT ts / 30 * 30 AS ts, device, {}(value) FROM numbers GROUP BY 1, 2 ORDER BY 1, 2"
    project.migrate(declared(None))
    project.execute(
        "CREATE FUNCTION last_number() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT max(ts) FROM numbers'",
        "SELECT set_integer_now_func('numbers', 'last_number')",  # which TimescaleDB demands of aggregates
    )
    project.migrate(declared("max"))
    project.execute(
        "INSERT INTO numbers SELECT ts, 1, ts FROM generate_series(100, 1019) AS ts",
        *refresh("rolled_up"),
    )
    assert project.rows(ROLLED_UP) == project.rows(expected.format("max"))
    project.migrate(declared("min"))
    assert project.rows(ROLLED_UP) == project.rows(expected.format("min"))
    project.execute("SELECT drop_chunks('numbers', 250)")
    project.autogenerate(declared("max"))
    with pytest.raises(MigrationError, match=r"rolled_up holds 4 rows of buckets from 90 to 180"):
        project.upgrade()
