"""Problems that users of TimescaleDB with SQLAlchemy and Alembic documented, one test each, named after the place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, DateTime, Double, Index, Integer, MetaData, Table, select

from datalayer.errors import ConfigurationError
from datalayer.timescale import (
    HashDimension,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    continuous_aggregate,
    find_relations,
    list_jobs,
)
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

LONG = "readings_of_a_table_whose_name_is_about_as_long_as_postgresql_a"


def declare(function: str = "max", **hypertable: Any) -> MetaData:
    metadata = MetaData()
    table = readings(metadata, hypertable=hypertable)
    rolled_up(
        table,
        "hourly",
        "1 hour",
        function,
        policies=[RefreshPolicy(start_offset="3 days", end_offset="1 hour", schedule_interval="1 hour")],
    )
    return metadata


def test_sqlalchemy_timescaledb_13_autogenerate_forgets_the_arguments_of_the_hypertable(
    project: AlembicProject,
) -> None:
    metadata = MetaData()
    arguments = {"time_column_name": "ts", "chunk_time_interval": "1 day"}
    readings(metadata, hypertable=None, timescaledb_hypertable=arguments)
    written = project.migrate(metadata)
    assert (
        "op.create_hypertable(\n        'readings',\n        'ts',\n        chunk_interval='1 day',\n        create_default_indexes=True"
        in written
    )
    assert "timescaledb_hypertable" not in written
    with project.engine.connect() as connection:
        (found,) = find_relations(connection).hypertables.values()
    assert (found.time_column, str(found.chunk_interval)) == ("ts", "1 day")
    project.downgrade_to_base()


@pytest.mark.parametrize("name", ["readings", LONG])
@pytest.mark.parametrize("dimensions", [[], [HashDimension("device", 2)]], ids=["time", "time and device"])
def test_sqlalchemy_timescaledb_21_autogenerate_drops_the_default_indexes(
    project: AlembicProject, name: str, dimensions: list[HashDimension]
) -> None:
    metadata = MetaData()
    Table(
        name,
        metadata,
        Column("ts", DateTime(timezone=True), nullable=False),
        Column("device", Integer),
        Hypertable("ts", dimensions=dimensions, create_default_indexes=True),
    )
    project.migrate(metadata)
    assert len(project.rows(f"SELECT FROM pg_indexes WHERE tablename = '{name}'")) >= 1
    assert project.differences(metadata) == []


def test_an_index_of_ones_own_that_is_no_longer_declared_is_reported(project: AlembicProject) -> None:
    metadata = declare()
    Index("by_value", metadata.tables["readings"].c.value)
    project.migrate(metadata)
    assert [difference[0] for difference in project.reported(declare())] == ["remove_index"]


def test_timescaledb_7989_changes_of_aggregates_and_policies_are_never_seen(project: AlembicProject) -> None:
    project.migrate(declare())
    project.execute(
        "SELECT remove_continuous_aggregate_policy('hourly')",
        "ALTER MATERIALIZED VIEW hourly SET (timescaledb.materialized_only = false)",
        "SELECT set_chunk_time_interval('readings', INTERVAL '2 days')",
    )
    assert [difference[0] for difference in project.reported(declare("min"))] == [
        "alter_hypertable",
        "alter_continuous_aggregate",
        "replace_continuous_aggregates",
        "add_refresh_policy",
    ]
    project.migrate(declare("min"))


def test_timescaledb_2876_an_aggregate_cannot_be_made_or_refreshed_in_a_transaction(
    project: AlembicProject,
) -> None:
    table = MetaData()
    readings(table)
    project.migrate(table)
    project.execute(FILL)
    definition = "SELECT time_bucket('1 hour', ts) AS ts, max(value) AS value FROM readings GROUP BY 1"
    project.run(
        f"op.create_continuous_aggregate('hourly', {definition!r}, materialized_only=True)\n"
        "    op.refresh_continuous_aggregate('hourly')\n"
        "    op.execute('CREATE TABLE after_it ()')",
        "op.execute('DROP TABLE after_it')\n    op.drop_continuous_aggregate('hourly')",
    )
    assert project.rows("SELECT * FROM hourly ORDER BY ts") == project.rows(definition + " ORDER BY ts")
    project.downgrade("-1")
    assert project.rows("SELECT to_regclass('after_it'), to_regclass('hourly')") == [(None, None)]


def test_docs_490_a_compressed_hypertable_cannot_be_downgraded(project: AlembicProject) -> None:
    project.migrate(declare())
    project.execute(FILL)
    rows = project.rows(ALL)
    project.migrate(declare(compression=BY_DEVICE))
    project.execute(compress("readings"))
    project.downgrade("-1")
    assert project.differences(declare()) == []
    assert project.rows(ALL) == rows


def test_timescaledb_2198_retention_then_refresh_deletes_what_was_aggregated() -> None:
    words = r"readings\.retention\.drop_after=2 days must be longer than hourly\.refresh\.start_offset=3 days"
    with pytest.raises(ConfigurationError, match=words):
        declare(policies=[RetentionPolicy(drop_after="2 days")])


def test_timescaledb_2198_a_window_from_the_beginning_does_so_whatever_the_retention(
    project: AlembicProject,
) -> None:
    """What TimescaleDB does, and why the declaration is refused."""
    metadata = MetaData()
    rolled_up(readings(metadata), "hourly", "1 hour")
    project.migrate(metadata)
    project.run(
        "op.add_refresh_policy('hourly', start_offset=None, end_offset='1 hour', schedule_interval='1 day')"
    )
    project.execute(FILL, *refresh("hourly"), "SELECT drop_chunks('readings', TIMESTAMPTZ '2024-03-04Z')")
    assert project.rows("SELECT min(ts)::date::text FROM hourly") == [("2024-03-01",)]
    with project.engine.connect() as connection:
        (job,) = list_jobs(connection)
    project.execute(f"CALL run_job({job.job_id})")
    assert project.rows("SELECT min(ts)::date::text FROM hourly") == [("2024-03-04",)], "three days are gone"

    source = readings(MetaData(), hypertable={"policies": [RetentionPolicy(drop_after="90 days")]})
    policy = RefreshPolicy(start_offset=None, end_offset="1 hour", schedule_interval="1 day")
    words = r"readings\.retention\.drop_after=90 days must be longer than hourly\.refresh\.start_offset=None"
    with pytest.raises(ConfigurationError, match=words):
        rolled_up(source, "hourly", "1 hour", policies=[policy])


def test_timescaledb_pr_6077_the_default_of_materialized_only_flipped(project: AlembicProject) -> None:
    table = readings(MetaData())
    with pytest.raises(TypeError, match="materialized_only"):
        continuous_aggregate("hourly", table.metadata, select(table))  # type: ignore[call-arg]
    for only in (True, False):
        metadata = MetaData()
        rolled_up(readings(metadata), "hourly", "1 hour", materialized_only=only)
        assert f"materialized_only={only}" in project.migrate(metadata)
        assert project.rows(
            "SELECT materialized_only FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()"
        ) == [(only,)]


def test_what_timescaledb_makes_for_itself_is_never_reported(project: AlembicProject) -> None:
    """With all schemas compared, and chunks, compressed and not, of tables and aggregates."""
    metadata = declare(compression=BY_DEVICE)
    Table(
        "events",
        metadata,
        Column("ts", DateTime(timezone=True), nullable=False),
        Column("x", Double),
        Hypertable("ts", create_default_indexes=True),
    )
    project.migrate(metadata)
    project.execute(
        FILL,
        compress("readings"),
        *refresh("hourly"),
        "INSERT INTO events SELECT ts, 1 FROM generate_series(TIMESTAMPTZ '2024-01-01Z', '2026-01-01Z', INTERVAL '7 days') AS ts",
    )
    with project.engine.connect() as connection:
        connection.dialect.default_schema_name = project.schema  # as Alembic's documents say of search paths
        context = MigrationContext.configure(connection, opts={"include_schemas": True})
        found = compare_metadata(context, metadata)
    internal = ("_timescaledb", "_hyper_", "_chunk", "ts_insert_blocker", "readings", "hourly", "events")
    assert not [line for line in map(str, found) if any(word in line for word in internal)]
