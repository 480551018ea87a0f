"""The ticker plays the background workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from datalayer.embedded import EmbeddedTimescale
from datalayer.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datalayer.embedded import JobStatus

DEADLINE_S = 30.0
SCHEMA = """
    CREATE TABLE readings (ts timestamptz NOT NULL, v int NOT NULL);
    SELECT create_hypertable('readings', 'ts', chunk_time_interval => interval '1 day');
    ALTER TABLE readings SET (timescaledb.compress);
    CREATE MATERIALIZED VIEW readings_1h WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
        SELECT time_bucket('1 hour', ts) AS ts, sum(v) AS v FROM readings GROUP BY 1 WITH NO DATA;
    INSERT INTO readings SELECT now() - make_interval(hours => i), 1 FROM generate_series(1, 24 * 30) i;
"""
POLICIES = """
    SELECT add_continuous_aggregate_policy('readings_1h', interval '5 days', interval '1 hour', interval '1 second');
    SELECT add_compression_policy('readings', interval '7 days', schedule_interval => interval '1 second');
    SELECT add_retention_policy('readings', interval '20 days', schedule_interval => interval '1 second');
    CREATE PROCEDURE fails(job_id int, config jsonb) LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''on purpose''; END';
    SELECT add_job('fails', interval '1 hour');
    CREATE PROCEDURE never(job_id int, config jsonb) LANGUAGE sql AS 'DROP TABLE readings';
    SELECT add_job('never', interval '1 second', scheduled => false);
"""


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedTimescale]:
    with EmbeddedTimescale() as own:
        with psycopg.connect(own.url.replace("+asyncpg", "", 1), autocommit=True) as conn:
            for part in (SCHEMA, POLICIES):
                for statement in filter(str.strip, part.split(";\n")):
                    conn.execute(statement)
        yield own


@pytest.fixture
def conn(embedded: EmbeddedTimescale) -> Iterator[psycopg.Connection]:
    with psycopg.connect(embedded.url.replace("+asyncpg", "", 1), autocommit=True) as connection:
        yield connection


def _jobs(embedded: EmbeddedTimescale) -> dict[str, JobStatus]:
    return {job.proc.rpartition(".")[2]: job for job in embedded.status().jobs}


@pytest.fixture
def jobs_that_ran(embedded: EmbeddedTimescale) -> dict[str, JobStatus]:
    """The jobs, once each that is scheduled has run by itself; nobody called `run_due_jobs`."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        jobs = _jobs(embedded)
        if all(job.runs for job in jobs.values() if job.scheduled):
            return jobs
        assert time.monotonic() < deadline, jobs
        time.sleep(0.1)


@pytest.mark.usefixtures("jobs_that_ran")
def test_refresh_runs_by_itself(conn: psycopg.Connection) -> None:
    assert conn.execute("SELECT count(*) FROM readings_1h").fetchone()[0] >= 4 * 24


@pytest.mark.usefixtures("jobs_that_ran")
def test_compression_runs_by_itself(conn: psycopg.Connection) -> None:
    old = "SELECT count(*) FILTER (WHERE is_compressed) FROM timescaledb_information.chunks WHERE hypertable_name = %s"
    assert conn.execute(old, ["readings"]).fetchone()[0] >= 10


@pytest.mark.usefixtures("jobs_that_ran")
def test_retention_runs_by_itself(conn: psycopg.Connection) -> None:
    kept = conn.execute("SELECT now() - min(ts) < interval '22 days', count(*) > 0 FROM readings").fetchone()
    assert kept == (True, True)


def test_the_status_tells_how_each_job_fares(jobs_that_ran: dict[str, JobStatus]) -> None:
    compression, failing, paused = (jobs_that_ran[name] for name in ("policy_compression", "fails", "never"))
    assert (compression.last_status, compression.last_error, compression.failures) == ("ok", None, 0)
    assert compression.hypertable == "public.readings"
    assert compression.next_start > compression.last_start
    assert (failing.last_status, failing.failures, failing.hypertable) == ("failed", failing.runs, None)
    assert "on purpose" in failing.last_error
    assert (paused.scheduled, paused.runs, paused.next_start, paused.last_start) == (False, 0, None, None)


def test_due_jobs_run_on_request(embedded: EmbeddedTimescale, conn: psycopg.Connection) -> None:
    conn.execute("CREATE TABLE done (n int)")
    conn.execute(
        "CREATE PROCEDURE once(job_id int, config jsonb) LANGUAGE sql AS 'INSERT INTO done VALUES (1)'"
    )
    with conn.transaction():
        job = conn.execute("SELECT add_job('once', interval '1 hour')").fetchone()[0]
        with pytest.raises(EmbeddedError, match="a client is using the database"):
            embedded.run_due_jobs(timeout_s=0.3)
    embedded.run_due_jobs()
    assert conn.execute("SELECT count(*) FROM done").fetchone() == (1,)
    assert [found.runs for found in embedded.status().jobs if found.job_id == job] == [1]
    assert job not in [found.job_id for found in embedded.run_due_jobs()]


def test_without_background_jobs_a_due_policy_runs_only_when_asked() -> None:
    with EmbeddedTimescale(background_jobs=False) as own:
        with psycopg.connect(own.url.replace("+asyncpg", "", 1), autocommit=True) as conn:
            for statement in filter(str.strip, (SCHEMA + POLICIES).split(";\n")):
                conn.execute(statement)
        time.sleep(2.5)  # the ticker would have come by twice
        assert {job.runs for job in own.status().jobs} == {0}
        assert {job.runs for job in own.run_due_jobs()} == {1}
