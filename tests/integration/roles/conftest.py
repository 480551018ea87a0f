"""A server of its own with the three roles: roles are of a whole server, and would stay on one that tests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from datalayer import Settings
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.db.roles import create_roles
from datalayer.timescale import compress_chunks
from tests.own_cluster import BINARIES, OwnCluster, new_cluster
from tests.sample_rows import fill_every_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

PRELOAD = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
needs_timescaledb = pytest.mark.skipif(
    not BINARIES or not list(BINARIES[0].parents[1].glob("lib/timescaledb.so")),
    reason="no server with TimescaleDB is installed here",
)
LOGINS = (
    "CREATE ROLE administrator LOGIN CREATEROLE",
    "CREATE DATABASE market OWNER administrator",
    "CREATE ROLE feed LOGIN",
    "CREATE ROLE model LOGIN",
)


@dataclass(frozen=True)
class Users:
    """Settings and engines by who logs in, and the database."""

    cluster: OwnCluster
    engines: dict[URL, AsyncEngine]

    def settings(self, user: str, database: str = "market") -> Settings:
        url = f"postgresql+asyncpg://{user}@127.0.0.1:{self.cluster.port}/{database}"
        return Settings.load(database_url=url, pool_max_size=4)

    def engine(self, user: str, database: str = "market") -> AsyncEngine:
        settings = self.settings(user, database)
        url = settings.require_url()
        return self.engines.setdefault(url, create_engine(url, settings))

    def __getitem__(self, user: str) -> AsyncEngine:
        return self.engine(user)


@pytest.fixture(scope="session")
async def users() -> AsyncIterator[Users]:
    """A database that an administrator who is no superuser has set up, with rows in every table, some compressed."""
    with new_cluster() as cluster, cluster.running(**PRELOAD):
        await cluster.execute(*LOGINS)
        made = Users(cluster, {})
        for _ in range(2):  # it may be repeated
            await create_roles(made.settings("administrator"))
        await cluster.execute("GRANT datalayer_write TO feed", "GRANT datalayer_read TO model")
        await migrations.upgrade(made.settings("datalayer_migrate"))
        async with made["datalayer_migrate"].begin() as conn:
            await fill_every_table(conn)
        for table in ("candles", "trades", "order_books"):
            await compress_chunks(made["datalayer_migrate"], table)
        yield made
        for engine in made.engines.values():
            await engine.dispose()
