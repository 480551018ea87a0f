"""Refreshing never takes away what is materialised already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData

from datalayer.errors import InvalidInputError
from datalayer.timescale import refresh_continuous_aggregate
from tests.integration.timescale.declared import FILL, readings, refresh, rolled_up

if TYPE_CHECKING:
    from datetime import datetime

    from tests.integration.timescale.project import AlembicProject

WEEKLY = "SELECT ts, device, value FROM weekly ORDER BY ts, device"


def refreshed(project: AlembicProject, name: str, start: datetime | None = None) -> None:
    with project.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        refresh_continuous_aggregate(connection, name, start=start)


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    """Buckets of a week, whose first begins days before the first chunk."""
    metadata = MetaData()
    rolled_up(readings(metadata), "weekly", "7 days", "sum")
    project.migrate(metadata)
    project.execute(FILL)
    return project


def test_the_first_bucket_is_materialised_though_it_begins_before_the_first_chunk(
    filled: AlembicProject,
) -> None:
    refreshed(filled, "weekly")
    by_us = filled.rows(WEEKLY)
    filled.execute("TRUNCATE weekly", *refresh("weekly"))
    assert by_us == filled.rows(WEEKLY)
    assert sum(row.value for row in by_us) == filled.rows("SELECT sum(value) FROM readings")[0][0]


def test_a_bucket_whose_beginning_was_dropped_stays_as_it_is(filled: AlembicProject) -> None:
    refreshed(filled, "weekly")
    rows = filled.rows(WEEKLY)
    filled.execute("SELECT drop_chunks('readings', TIMESTAMPTZ '2024-03-03Z')")
    refreshed(filled, "weekly")
    assert filled.rows(WEEKLY) == rows


def test_late_rows_come_in(filled: AlembicProject) -> None:
    refreshed(filled, "weekly")
    filled.execute("INSERT INTO readings VALUES ('2024-03-04 00:00:01Z', 9, 7)")
    refreshed(filled, "weekly")
    assert [tuple(row[1:]) for row in filled.rows(WEEKLY) if row.device == 9] == [(9, 7)]


def test_an_unknown_name_is_refused(filled: AlembicProject) -> None:
    with pytest.raises(InvalidInputError, match="nightly"):
        refreshed(filled, "nightly")
