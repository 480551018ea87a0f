"""Hypertables from the first revision to the last and back: made with their table, given other chunks, undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData

from datalayer.errors import ConfigurationError
from datalayer.timescale import HashDimension, RangeDimension, find_relations
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, ROWS, compress, readings

if TYPE_CHECKING:
    from datalayer.timescale import HypertableSpec
    from tests.integration.timescale.project import AlembicProject


def declare(**hypertable: object) -> MetaData:
    metadata = MetaData()
    readings(metadata, hypertable=hypertable)
    return metadata


def found(project: AlembicProject) -> HypertableSpec:
    with project.engine.connect() as connection:
        (spec,) = find_relations(connection).hypertables.values()
    return spec


def test_round_trip_of_a_new_hypertable(project: AlembicProject) -> None:
    before = project.traces()
    written = project.migrate(declare(compression=BY_DEVICE))
    assert "op.create_hypertable('readings', 'ts', chunk_interval='1 day')" in written
    assert "op.drop_hypertable('readings', keep_rows=False)" in written, "of compressed chunks"
    project.execute(FILL, compress("readings"))
    rows = project.rows(ALL)
    assert len(rows) == ROWS

    changed = project.migrate(declare(chunk_interval="6 hours", compression=BY_DEVICE))
    assert "op.alter_hypertable('readings', chunk_interval='6 hours')" in changed
    assert "op.alter_hypertable('readings', chunk_interval='1 day')" in changed, "the way back"
    assert str(found(project).chunk_interval) == "6 hours"
    assert project.rows(ALL) == rows

    project.downgrade("-1")
    assert str(found(project).chunk_interval) == "1 day"
    assert project.differences(declare(compression=BY_DEVICE)) == []
    assert project.rows(ALL) == rows
    project.downgrade("-1")
    assert project.traces() == before


def test_round_trip_of_a_removed_hypertable(project: AlembicProject) -> None:
    before = project.traces()
    project.migrate(declare(compression=BY_DEVICE))
    project.execute(FILL, compress("readings"))
    project.migrate(MetaData())
    project.downgrade("-1")
    assert project.differences(declare(compression=BY_DEVICE)) == []
    project.upgrade()
    project.downgrade_to_base()
    assert project.traces() == before


@pytest.mark.parametrize(
    "dimensions", [[HashDimension("device", 2)], [RangeDimension("device", 10)]], ids=["hash", "range"]
)
def test_round_trip_of_further_dimensions(project: AlembicProject, dimensions: list[object]) -> None:
    before = project.traces()
    declared = declare(dimensions=dimensions)
    written = project.migrate(declared)
    assert f"dimensions=[{dimensions[0].__class__.__name__}('device', " in written
    project.execute(FILL)
    assert found(project).dimensions == tuple(dimensions)
    assert len(project.rows(ALL)) == ROWS
    rows = project.rows(ALL)

    plain = MetaData()
    readings(plain, hypertable=None)
    project.migrate(plain)
    assert project.rows(ALL) == rows
    project.downgrade("-1")
    assert project.differences(declared) == []
    assert found(project).dimensions == tuple(dimensions)
    assert project.rows(ALL) == rows
    project.downgrade("-1")
    assert project.traces() == before


@pytest.mark.parametrize(
    ("setting", "other"),
    [
        ("dimensions", {"dimensions": [HashDimension("device", 4)]}),
        ("time_column", {"time_column": "device"}),
    ],
)
def test_what_timescaledb_cannot_change_is_refused(
    project: AlembicProject, setting: str, other: dict[str, object]
) -> None:
    project.migrate(declare(dimensions=[HashDimension("device", 2)]))
    with pytest.raises(
        ConfigurationError, match=f"hypertable readings: {setting} is declared as .* on the server"
    ):
        project.check(declare(**({"dimensions": [HashDimension("device", 2)]} | other)))


def test_a_table_that_is_altered_as_well(project: AlembicProject) -> None:
    project.migrate(declare(compression=BY_DEVICE))
    project.execute(FILL, compress("readings"))
    rows = project.rows(ALL)
    wider = MetaData()
    readings(
        wider, Column("quality", Integer), hypertable={"chunk_interval": "2 days", "compression": BY_DEVICE}
    )
    project.migrate(wider)
    assert project.rows(ALL) == rows
    project.downgrade("-1")
    assert project.differences(declare(compression=BY_DEVICE)) == []
    assert project.rows(ALL) == rows
