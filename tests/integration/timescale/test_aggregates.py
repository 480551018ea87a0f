"""Continuous aggregates made, changed in place, replaced, renamed and dropped, over data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, func, text
from sqlalchemy.exc import DBAPIError

from datalayer.timescale import RefreshPolicy, list_aggregates, list_jobs
from tests.integration.timescale.declared import BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

HOURLY = "SELECT ts, device, value FROM hourly ORDER BY ts, device"


def expected(function: str) -> str:
    """What the aggregate says, computed by PostgreSQL alone."""
    return f"SELECT date_trunc('hour', ts) AS ts, device, {function}(value) FROM readings GROUP BY 1, 2 ORDER BY 1, 2"


def declare(function: str = "max", **arguments: Any) -> MetaData:
    metadata = MetaData()
    table = readings(metadata, hypertable={"compression": BY_DEVICE})
    rolled_up(table, "hourly", "1 hour", function, **{"compression": BY_DEVICE, **arguments})
    return metadata


def without() -> MetaData:
    metadata = MetaData()
    readings(metadata, hypertable={"compression": BY_DEVICE})
    return metadata


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    project.migrate(without())
    project.execute(FILL, compress("readings"))
    return project


def fill(project: AlembicProject) -> None:
    project.execute(*refresh("hourly"), compress("hourly"))


def test_round_trip_of_an_aggregate(filled: AlembicProject) -> None:
    before = filled.traces()
    written = filled.migrate(declare())
    assert "op.create_continuous_aggregate(" in written
    assert "materialized_only=True" in written
    fill(filled)
    assert filled.rows(HOURLY) == filled.rows(expected("max"))

    written = filled.migrate(declare("min"))
    assert "op.replace_continuous_aggregates(" in written
    assert filled.rows(HOURLY) == filled.rows(expected("min")), "refilled"

    filled.migrate(without())
    filled.downgrade("-1")
    assert filled.differences(declare("min")) == []
    filled.downgrade("-1")
    assert filled.differences(declare()) == []
    filled.downgrade("-1")
    assert before == filled.traces()


@pytest.mark.parametrize(
    ("setting", "old", "new", "shown"),
    [
        ("materialized_only", True, False, (True, False)),
        ("comment", None, "it's 100% of: an hour", (None, "it's 100% of: an hour")),
        ("comment", "hourly", None, ("hourly", None)),
        ("chunk_interval", "10 days", "20 days", ("10 days", "20 days")),
    ],
)
def test_round_trip_of_what_changes_in_place(
    filled: AlembicProject, setting: str, old: object, new: object, shown: tuple[object, object]
) -> None:
    filled.migrate(declare(**{setting: old}))
    fill(filled)
    rows = filled.rows(HOURLY)
    assert filled.reported(declare(**{setting: new})) == [
        ("alter_continuous_aggregate", None, "hourly", {setting: shown})
    ]
    written = filled.migrate(declare(**{setting: new}))
    assert "replace_continuous_aggregates" not in written
    assert filled.rows(HOURLY) == rows
    filled.downgrade("-1")
    assert filled.differences(declare(**{setting: old})) == []
    assert filled.rows(HOURLY) == rows
    filled.upgrade()
    filled.check(declare(**{setting: new}))


def test_an_aggregate_is_renamed_by_hand_and_keeps_everything(filled: AlembicProject) -> None:
    policy = RefreshPolicy(start_offset="3 days", end_offset="1 hour", schedule_interval="1 hour")
    filled.migrate(declare(policies=[policy]))
    fill(filled)
    rows = filled.rows(HOURLY)
    filled.run(
        "op.rename_continuous_aggregate('hourly', 'By Hour')",
        "op.rename_continuous_aggregate('By Hour', 'hourly')",
    )
    renamed = without()
    rolled_up(renamed.tables["readings"], "By Hour", "1 hour", compression=BY_DEVICE, policies=[policy])
    filled.check(renamed)
    assert filled.rows(HOURLY.replace("hourly", '"By Hour"')) == rows
    filled.downgrade("-1")
    assert filled.differences(declare(policies=[policy])) == []
    assert filled.rows(HOURLY) == rows
    with filled.engine.connect() as connection:
        assert [job.relation for job in list_jobs(connection)] == ["hourly"]


def test_the_declared_table_is_selected_from(filled: AlembicProject) -> None:
    metadata = declare()
    filled.migrate(metadata)
    fill(filled)
    (spec,) = list_aggregates(metadata)
    assert spec.sources == ((None, "readings"),)
    assert str(spec.bucket) == "1 hour"
    table = rolled_up(readings(MetaData()), "hourly", "1 hour")
    with filled.engine.connect() as connection:
        result = connection.execute(table.select().order_by(table.c.ts, table.c.device)).all()
    assert [(row.ts, row.device, row.value) for row in result] == filled.rows(HOURLY)
    assert [key.name for key in table.primary_key] == ["device", "ts"]


def test_options_of_the_creation(filled: AlembicProject) -> None:
    written = filled.migrate(declare(create_group_indexes=False, chunk_interval="12 days"))
    assert "create_group_indexes=False" in written
    (hypertable,) = filled.rows(
        "SELECT materialization_hypertable_name FROM timescaledb_information.continuous_aggregates WHERE view_name = 'hourly'"
    )
    indexes = filled.rows(f"SELECT indexdef FROM pg_indexes WHERE tablename = '{hypertable[0]}'")
    assert not any("device" in index[0] for index in indexes)


def test_a_quoted_text_in_a_definition(filled: AlembicProject) -> None:
    def declared(text: str) -> MetaData:
        return declare(columns=[func.count().filter(func.concat("x") == text).label("n")])

    tricky = "50% of: 'it' \\ \"x\" :name"
    filled.migrate(declared(tricky))
    filled.migrate(declared(tricky + "!"))
    filled.downgrade("-1")
    assert filled.differences(declared(tricky)) == []


def test_a_comparison_that_cannot_be_made_is_an_error_and_no_difference(project: AlembicProject) -> None:
    metadata = MetaData()
    rolled_up(readings(metadata), "hourly", "1 hour")
    project.migrate(metadata)
    with project.engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(DBAPIError, match="read-only"):
            compare_metadata(MigrationContext.configure(connection), metadata)
