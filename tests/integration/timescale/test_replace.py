"""Replacing aggregates keeps all that goes with them, and refuses to lose rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData, func
from sqlalchemy.exc import DBAPIError

from datalayer.errors import InvalidInputError, MigrationError
from datalayer.timescale import CompressionPolicy, RefreshPolicy, RetentionPolicy
from datalayer.timescale.operations.replace import replace_aggregates
from tests.integration.timescale.declared import BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.timescale.project import AlembicProject

DAILY = "SELECT ts, device, value FROM daily ORDER BY ts, device"
POLICIES = [
    RefreshPolicy(
        start_offset="10 days", end_offset="1 hour", schedule_interval="1 hour", phase="20 minutes"
    ),
    CompressionPolicy(compress_after="40 days"),
    RetentionPolicy(drop_after="400 days"),
]
JOBS = """
    SELECT proc_name, hypertable_name, scheduled, schedule_interval, max_runtime, max_retries, retry_period, fixed_schedule, initial_start,
           owner, config - 'mat_hypertable_id' - 'hypertable_id' AS config
    FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema() ORDER BY 2, 1
"""
RIGHTS = """
    SELECT pg_get_userbyid(relowner), (SELECT array_agg(acl::text ORDER BY acl::text) FROM unnest(relacl) AS acl), obj_description(c.oid),
           (SELECT array_agg((attname, attacl::text)::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL)
    FROM pg_class AS c WHERE oid = 'daily'::regclass
"""
WAITS = """
    SELECT next_start > now() + INTERVAL '23 hours' FROM timescaledb_information.jobs
    WHERE hypertable_schema = current_schema() AND proc_name = 'policy_refresh_continuous_aggregate'
"""
COMPRESSION = "SELECT attname, segmentby_column_index, orderby_column_index, orderby_asc FROM timescaledb_information.compression_settings WHERE hypertable_name LIKE '%materialized%' ORDER BY 1"


def definition(function: str, where: str = "", source: str = "readings") -> str:
    return f"SELECT time_bucket('1 day', ts) AS ts, device, {function}(value) AS value FROM {source} {where} GROUP BY 1, 2"


def expected(function: str) -> str:
    return f"SELECT date_trunc('day', ts) AS ts, device, {function}(value) FROM readings GROUP BY 1, 2 ORDER BY 1, 2"


def replace(project: AlembicProject, sql: str, **options: object) -> None:
    further = "".join(f", {name}={value!r}" for name, value in options.items())
    project.run(f"op.replace_continuous_aggregates({{'daily': {sql!r}}}{further})")


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    metadata = MetaData()
    table = readings(metadata, hypertable={"compression": BY_DEVICE})
    rolled_up(table, "daily", "1 day", compression=BY_DEVICE, policies=POLICIES, comment="it's 100%: daily")
    project.migrate(metadata)
    project.execute(FILL, compress("readings"), *refresh("daily"), compress("daily"))
    return project


@pytest.fixture
def role(project: AlembicProject, own_schema: str) -> Iterator[str]:
    project.execute(f"CREATE ROLE {own_schema} LOGIN", f"GRANT ALL ON SCHEMA {own_schema} TO {own_schema}")
    yield own_schema
    project.drop()
    project.execute(f"DROP OWNED BY {own_schema}", f"DROP ROLE {own_schema}")


def test_what_goes_with_an_aggregate_is_kept(filled: AlembicProject, role: str) -> None:
    filled.execute(f"GRANT ALL ON readings TO {role}", f"ALTER MATERIALIZED VIEW daily OWNER TO {role}")
    filled.run(
        "op.disable_compression('daily')"
    )  # TimescaleDB refuses grants on columns of what is compressed
    filled.execute(
        "GRANT SELECT (device, value) ON daily TO pg_read_all_stats",
        "SELECT alter_job(job_id, max_retries => 7, max_runtime => INTERVAL '90 seconds', retry_period => INTERVAL '33 seconds', scheduled => false)"
        " FROM timescaledb_information.jobs WHERE hypertable_name = 'daily' AND proc_name = 'policy_compression'",
        "SELECT alter_job(job_id, schedule_interval => INTERVAL '2 hours', config => config || '{\"max_batches_per_execution\": 3}')"
        " FROM timescaledb_information.jobs WHERE hypertable_name = 'daily' AND proc_name = 'policy_refresh_continuous_aggregate'",
        "GRANT SELECT ON daily TO PUBLIC",
        "GRANT SELECT, INSERT ON daily TO pg_monitor WITH GRANT OPTION",
    )
    filled.run("op.enable_compression('daily', segment_by=['device'], order_by=['ts DESC'])")
    around = [filled.rows(query) for query in (JOBS, RIGHTS, COMPRESSION)]
    assert len(around[0]) == len(POLICIES)
    assert around[2]
    replace(filled, definition("min"))
    assert filled.rows(DAILY) == filled.rows(expected("min"))
    assert [filled.rows(query) for query in (JOBS, RIGHTS, COMPRESSION)] == around


INDEXES = """
    SELECT regexp_replace(indexdef, '_materialized_hypertable_[0-9]+', '#', 'g') FROM pg_indexes
    JOIN timescaledb_information.continuous_aggregates ON tablename = materialization_hypertable_name
    WHERE view_schema = current_schema() ORDER BY 1
"""


@pytest.mark.parametrize("create_group_indexes", [True, False])
def test_indexes_are_kept(project: AlembicProject, *, create_group_indexes: bool) -> None:
    metadata = MetaData()
    rolled_up(readings(metadata), "daily", "1 day", create_group_indexes=create_group_indexes)
    project.migrate(metadata)
    project.execute(
        FILL,
        *refresh("daily"),
        'CREATE INDEX "By: value" ON daily (value DESC) WHERE device > 1',
        "CREATE INDEX ON daily USING brin ((value * 2))",
    )
    around = project.rows(INDEXES)
    assert ("(device, ts DESC)" in str(around)) is create_group_indexes
    replace(project, definition("min"))
    assert project.rows(INDEXES) == around


def test_what_is_of_a_column_that_goes_is_left_out(project: AlembicProject) -> None:
    metadata = MetaData()
    rolled_up(readings(metadata), "daily", "1 day", columns=[func.count().label("n")])
    project.migrate(metadata)
    project.execute(
        FILL,
        *refresh("daily"),
        "CREATE INDEX ON daily (n)",
        "CREATE INDEX by_value ON daily (value)",
        "GRANT SELECT (n, value) ON daily TO pg_monitor",
    )
    replace(project, definition("min"))
    assert "USING btree (value)" in str(project.rows(INDEXES))
    assert "(n)" not in str(project.rows(INDEXES))
    (rights,) = project.rows(RIGHTS)
    assert "pg_monitor=r" in str(rights[3])
    assert project.rows(DAILY) == project.rows(expected("min"))


def test_an_owner_that_cannot_log_in_is_kept(filled: AlembicProject) -> None:
    filled.execute(
        "GRANT ALL ON SCHEMA {0} TO {1}; GRANT ALL ON readings TO {1}; ALTER MATERIALIZED VIEW daily OWNER TO {1}".format(
            filled.schema, "pg_database_owner"
        )
    )
    around = [filled.rows(query) for query in (JOBS, RIGHTS)]
    replace(filled, definition("min"))
    assert [filled.rows(query) for query in (JOBS, RIGHTS)] == around


def test_all_that_read_it_must_be_given(filled: AlembicProject) -> None:
    filled.run(
        f"op.create_continuous_aggregate('weekly', {definition('max', source='daily').replace('1 day', '7 days')!r}, materialized_only=True)"
    )
    rows = filled.rows(DAILY)
    with pytest.raises(InvalidInputError, match="weekly"):
        replace(filled, definition("min"))
    assert filled.rows(DAILY) == rows


def test_an_unknown_name_is_refused(filled: AlembicProject) -> None:
    with pytest.raises(InvalidInputError, match="there is no continuous aggregate"):
        filled.run("op.replace_continuous_aggregates({'nightly': 'SELECT 1'})")


def test_a_definition_that_fails_leaves_everything(filled: AlembicProject) -> None:
    rows, jobs = filled.rows(DAILY), filled.rows(JOBS)
    with pytest.raises(DBAPIError, match="no_such_column"):
        replace(filled, definition("min", "WHERE no_such_column > 0"))
    assert (filled.rows(DAILY), filled.rows(JOBS)) == (rows, jobs)


def test_rows_that_the_source_lost_are_named_before_anything_is_dropped(filled: AlembicProject) -> None:
    filled.execute("SELECT drop_chunks('readings', TIMESTAMPTZ '2024-03-03Z')")
    rows, jobs = filled.rows(DAILY), filled.rows(JOBS)
    words = r"daily holds 6 rows of buckets from 2024-03-01 00:00:00\+00 to 2024-03-02 00:00:00\+00 that its source no longer has\. Nothing was changed\. To lose them, say accept_loss=True"
    with pytest.raises(MigrationError, match=words):
        replace(filled, definition("min"))
    assert (filled.rows(DAILY), filled.rows(JOBS)) == (rows, jobs)


def test_a_loss_that_is_accepted(filled: AlembicProject) -> None:
    filled.execute("SELECT drop_chunks('readings', TIMESTAMPTZ '2024-03-03Z')")
    replace(filled, definition("min"), accept_loss=True)
    assert filled.rows(DAILY) == filled.rows(expected("min"))
    assert filled.rows("SELECT min(ts)::date::text FROM daily") == [("2024-03-03",)]


def test_an_interrupted_refill_holds_the_policy_back_and_runs_again(
    filled: AlembicProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that ran before all is filled would hide what is older than its window."""
    around = filled.rows(JOBS)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"{replace_aggregates.__module__}.refresh_continuous_aggregate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replace(filled, definition("min"))
    assert filled.rows(WAITS) == [(True,)]
    filled.upgrade()
    assert filled.rows(WAITS) == [(False,)]
    assert filled.rows(DAILY) == filled.rows(expected("min"))
    assert filled.rows(JOBS) == around


def test_another_source_that_holds_less_is_a_loss(filled: AlembicProject) -> None:
    filled.run(
        f"op.create_continuous_aggregate('hourly', {definition('max').replace('1 day', '1 hour')!r}, materialized_only=True)"
    )
    filled.execute("CALL refresh_continuous_aggregate('hourly', '2024-03-03Z', NULL)")
    with pytest.raises(MigrationError, match="daily holds 6 rows of buckets from 2024-03-01"):
        replace(filled, definition("max", source="hourly"))
    filled.execute(*refresh("hourly"))
    rows = filled.rows(DAILY)
    replace(filled, definition("max", source="hourly"))
    assert filled.rows(DAILY) == rows
