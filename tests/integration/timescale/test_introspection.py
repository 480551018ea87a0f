"""Chunks, compression, jobs and relations as a server has them, in typed results."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData

from datalayer.timescale import (
    CompressionPolicy,
    HashDimension,
    PolicyKind,
    RefreshPolicy,
    RetentionPolicy,
    compression_statistics,
    find_hypertable,
    find_relations,
    list_aggregates,
    list_chunks,
    list_jobs,
    relation_size,
    switch_jobs,
)
from tests.integration.timescale.declared import BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from datalayer.timescale import Job
    from tests.integration.timescale.project import AlembicProject

SCHEDULER_LIMIT_S = 120
REFRESH = RefreshPolicy(
    start_offset="1 month",
    end_offset="1 hour",
    schedule_interval="30 minutes",
    phase="10 seconds",
    buckets_per_batch=5,
    newest_first=True,
)


def declare() -> MetaData:
    metadata = MetaData()
    hypertable = {
        "compression": BY_DEVICE,
        "dimensions": [HashDimension("device", 2)],
        "policies": [RetentionPolicy(drop_after="90 days", paused=True)],
    }
    table = readings(metadata, hypertable=hypertable)
    hourly = rolled_up(
        table,
        "hourly",
        "1 hour",
        compression=BY_DEVICE,
        policies=[REFRESH, CompressionPolicy(compress_after="40 days")],
        comment="by the hour",
        chunk_interval="10 days",
    )
    rolled_up(hourly, "a_daily", "1 day", materialized_only=False, chunk_interval="1 month")
    return metadata


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    project.migrate(declare())
    project.execute(FILL, *refresh("hourly", "a_daily"))
    return project


@pytest.fixture
def connection(filled: AlembicProject) -> Iterator[Connection]:
    with filled.engine.connect() as connection:
        yield connection


def test_relations_are_found_as_they_are_declared(filled: AlembicProject, connection: Connection) -> None:
    metadata = declare()
    found = find_relations(connection)
    assert found.hypertables == {(None, "readings"): find_hypertable(metadata.tables["readings"])}
    assert list(found.aggregates) == [(None, "hourly"), (None, "a_daily")], "sources first"
    for spec in list_aggregates(metadata):
        there = found.aggregates[spec.key]
        for field in ("materialized_only", "chunk_interval", "compression", "policies", "comment", "sources"):
            assert getattr(there, field) == getattr(spec, field), field
    by_name = find_relations(connection, [filled.schema])
    assert list(by_name.aggregates) == [(filled.schema, "hourly"), (filled.schema, "a_daily")]
    assert by_name.aggregates[filled.schema, "hourly"].sources == ((filled.schema, "readings"),)


def test_nothing_is_found_where_nothing_is(connection: Connection) -> None:
    assert find_relations(connection, ["no such schema"]) == find_relations(connection, [])


def test_chunks_oldest_first(filled: AlembicProject, connection: Connection) -> None:
    filled.execute(
        "SELECT compress_chunk(chunk) FROM show_chunks('readings', older_than => TIMESTAMPTZ '2024-03-02Z') AS chunk"
    )
    chunks = list_chunks(connection, "readings")
    days = [chunk.range_start for chunk in chunks]
    assert days == sorted(days)
    assert {chunk.range_start for chunk in chunks} == {
        datetime(2024, 3, day, tzinfo=UTC) for day in range(1, 6)
    }
    assert all(
        chunk.range_end - chunk.range_start == timedelta(days=1)
        for chunk in chunks
        if chunk.range_start and chunk.range_end
    )
    assert {chunk.range_start for chunk in chunks if chunk.is_compressed} == {
        datetime(2024, 3, 1, tzinfo=UTC)
    }
    assert len(list_chunks(connection, "hourly", schema=filled.schema)) == 1


def test_what_compression_saves(filled: AlembicProject, connection: Connection) -> None:
    nothing = compression_statistics(connection, "readings")
    assert (nothing.chunks, nothing.bytes_before, nothing.bytes_after) == (0, 0, 0)
    assert math.isnan(nothing.saved)
    connection.rollback()
    filled.execute(compress("readings"), compress("hourly"))
    some = compression_statistics(connection, "readings")
    assert some.chunks == len(list_chunks(connection, "readings"))
    assert some.saved == 1 - some.bytes_after / some.bytes_before
    assert relation_size(connection, "readings") >= some.bytes_after > 0
    assert compression_statistics(connection, "hourly").chunks == 1


def test_jobs_and_switching_them(connection: Connection) -> None:
    jobs = list_jobs(connection)
    assert [(job.kind, job.relation, job.scheduled) for job in jobs] == [
        (PolicyKind.COMPRESSION, "hourly", True),
        (PolicyKind.REFRESH, "hourly", True),
        (PolicyKind.RETENTION, "readings", False),
    ]
    assert [job.windows for job in jobs] == [
        {"compress_after": timedelta(days=40)},
        {"start_offset": timedelta(days=30), "end_offset": timedelta(hours=1)},
        {"drop_after": timedelta(days=90)},
    ]
    assert [job.schedule_interval for job in jobs] == [
        timedelta(hours=12),
        timedelta(minutes=30),
        timedelta(days=1),
    ]
    assert all((job.runs, job.failures, job.last_run, job.last_error) == (0, 0, None, None) for job in jobs)
    (switched,) = switch_jobs(connection, PolicyKind.RETENTION, scheduled=True)
    assert switched.scheduled
    assert list_jobs(connection, PolicyKind.RETENTION) == [switched]


def test_a_run_on_demand(filled: AlembicProject) -> None:
    """Run on demand a job works everywhere; what the server keeps of its runs is what it reports."""
    with filled.engine.connect() as connection:
        (job,) = list_jobs(connection, PolicyKind.COMPRESSION)
    filled.execute(f"CALL run_job({job.job_id})")
    with filled.engine.connect() as connection:
        assert [chunk.is_compressed for chunk in list_chunks(connection, "hourly")] == [True]
        (job,) = list_jobs(connection, PolicyKind.COMPRESSION)
    recorded = filled.rows(
        f"SELECT total_runs, total_failures, last_run_status FROM timescaledb_information.job_stats WHERE job_id = {job.job_id} AND total_runs > 0"
    )
    assert recorded == ([(job.runs, job.failures, job.last_status)] if job.runs else [])


@pytest.mark.native
def test_a_run_that_failed(project: AlembicProject) -> None:
    project.execute(
        "CREATE TABLE counted (n bigint NOT NULL, v int)",
        "SELECT create_hypertable('counted', by_range('n', 1000))",
        "CREATE FUNCTION newest() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RAISE EXCEPTION ''no clock''; END'",
        "SELECT set_integer_now_func('counted', 'newest')",
        "SELECT add_retention_policy('counted', drop_after => 3000)",
        "SELECT _timescaledb_functions.start_background_workers()",
    )
    try:
        job = _wait_for_failure(project)
    finally:
        project.execute("SELECT _timescaledb_functions.stop_background_workers()")
    assert (job.kind, job.relation, job.last_status) == (PolicyKind.RETENTION, "counted", "Failed")
    assert job.runs >= job.failures >= 1
    assert job.last_run is not None
    assert job.last_run.tzinfo is not None
    assert job.next_start is not None
    assert job.last_error == "no clock"


def _wait_for_failure(project: AlembicProject) -> Job:
    deadline = time.monotonic() + SCHEDULER_LIMIT_S
    while True:
        with project.engine.connect() as connection:
            (job,) = list_jobs(connection)
        if job.last_error is not None:
            return job
        assert time.monotonic() < deadline, "the scheduler did not run the job"
        time.sleep(0.1)


def test_windows_of_an_integer_time_column_are_numbers(project: AlembicProject) -> None:
    project.execute(
        "CREATE TABLE counted (n bigint NOT NULL, v int)",
        "SELECT create_hypertable('counted', by_range('n', 1000))",
        "CREATE FUNCTION newest() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 5000::bigint'",
        "SELECT set_integer_now_func('counted', 'newest')",
        "SELECT add_retention_policy('counted', drop_after => 3000)",
    )
    with project.engine.connect() as connection:
        (job,) = list_jobs(connection)
    assert (job.relation, job.windows) == ("counted", {"drop_after": 3000})
