"""Engines of the `sqlalchemy-timescaledb` dialect beside plain PostgreSQL ones: one hypertable either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from datalayer.timescale import find_relations
from tests.integration.timescale.declared import FILL, readings, refresh, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject


def declare(function: str = "max") -> MetaData:
    metadata = MetaData()
    table = readings(
        metadata,
        hypertable=None,
        timescaledb_hypertable={"time_column_name": "ts", "chunk_time_interval": "1 day"},
    )
    rolled_up(table, "hourly", "1 hour", function)
    return metadata


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "timescaledb+asyncpg"])
async def test_round_trip_by_the_name_of_the_dialect(
    project: AlembicProject, database_url: str, search_path: str, driver: str
) -> None:
    before = project.traces()
    url = make_url(database_url).set(drivername=driver)
    engine = create_async_engine(url, connect_args={"server_settings": {"search_path": search_path}})
    try:
        async with engine.connect() as connection:
            await connection.run_sync(project.on, "autogenerate", declare())
            await connection.run_sync(project.on, "upgrade")
            await connection.run_sync(project.on, "check", declare())
            found = await connection.run_sync(find_relations)
            assert [name for _, name in found.hypertables] == ["readings"]
            await connection.rollback()  # the embedded server has one transaction at a time
            project.execute(FILL, *refresh("hourly"))
            await connection.run_sync(project.on, "autogenerate", declare("min"))
            await connection.run_sync(project.on, "upgrade")
            await connection.run_sync(project.on, "check", declare("min"))
            await connection.run_sync(project.on, "downgrade", "base")
    finally:
        await engine.dispose()
    assert project.traces() == before
