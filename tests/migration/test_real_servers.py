"""The gate on real servers that will not do; each is a cluster of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from datalayer.config import Settings
from datalayer.db import migrations, server_gate
from datalayer.errors import UnsupportedServerError
from tests.own_cluster import BINARIES, OwnCluster, needs_own_cluster, new_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_own_cluster
PRELOAD = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with new_cluster() as cluster:
        yield cluster


def require_library() -> None:
    if not list(BINARIES[0].parents[1].glob("lib/timescaledb.so")):
        pytest.skip("this PostgreSQL has no TimescaleDB library")


async def refused(url: str) -> str:
    """Try to migrate a schema of its own, and make sure that nothing at all was changed."""
    objects = text(
        "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_extension)"
    )
    engine = create_async_engine(url)
    async with engine.connect() as conn:
        before = (await conn.execute(objects)).one()
    with pytest.raises(UnsupportedServerError) as refusal:
        await migrations.upgrade(Settings.load(database_url=url, database_schema="own"))
    async with engine.connect() as conn:
        assert (await conn.execute(objects)).one() == before
    await engine.dispose()
    return str(refusal.value)


async def test_a_server_without_timescaledb_loaded_is_refused_unchanged(cluster: OwnCluster) -> None:
    with cluster.running() as url:
        assert "shared_preload_libraries" in await refused(url)


async def test_a_timescaledb_that_is_too_old_is_refused_unchanged(
    cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No older release is at hand: the limit is raised above the one that is."""
    require_library()
    monkeypatch.setattr(server_gate, "MINIMUM_TIMESCALEDB", (2, 999))
    with cluster.running(**PRELOAD) as url:
        assert "this database has 2." in await refused(url)


async def test_the_apache_licence_is_refused_unchanged(cluster: OwnCluster) -> None:
    require_library()
    with cluster.running(**PRELOAD, **{"timescaledb.license": "apache"}) as url:
        assert "apache licence" in await refused(url)
    with cluster.running(**PRELOAD) as url:
        assert await migrations.upgrade(Settings.load(database_url=url)) == migrations.history()[-1].id
