"""The server dies, pauses and is away for long, under load; then everything is counted."""

from __future__ import annotations

import asyncio
import random
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from datalayer import Settings
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from tests.integration.ingestion.feeding import SEEDS, Feeder, ended
from tests.integration.ingestion.market import scalar
from tests.own_cluster import BINARIES, OwnCluster, needs_own_cluster, new_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = needs_own_cluster
PRELOAD = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}


@pytest.fixture
async def cluster() -> AsyncIterator[OwnCluster]:
    if not BINARIES or not list(BINARIES[0].parents[1].glob("lib/timescaledb.so")):
        pytest.skip("no server with TimescaleDB is installed here")
    with new_cluster() as cluster, cluster.running(**PRELOAD):
        await migrations.upgrade(Settings.load(database_url=cluster.url))
        await cluster.execute("ALTER DATABASE postgres SET synchronous_commit = on")
        yield cluster


@SEEDS
async def test_the_server_and_the_process_are_killed_and_the_server_pauses(
    cluster: OwnCluster, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    feeder = Feeder(cluster.url, tmp_path)
    for _ in range(2):
        process = await feeder.start(100_000)
        for _ in range(3):
            before = sum(map(len, feeder.promised().values()))
            await feeder.until_promised(before + chance.randrange(1, 800))
            if chance.random() < 0.5:
                with cluster.paused():
                    await asyncio.sleep(chance.uniform(0, 2))
            else:
                await asyncio.to_thread(cluster.stop, "immediate")
                await asyncio.sleep(chance.uniform(0, 1))
                await asyncio.to_thread(lambda: cluster.start(**PRELOAD))
        process.kill()
        await ended(process)
        feeder.go_on()
    engine = create_engine(make_url(cluster.url), Settings.load(database_url=cluster.url))
    try:
        await feeder.finish(engine)
        await feeder.check(engine)
    finally:
        await engine.dispose()


async def test_an_outage_longer_than_the_buffers(cluster: OwnCluster, tmp_path: Path) -> None:
    """An hour of four feeds at one event a second, in as little time as it takes; the buffer holds a fifteenth of it."""
    feeder = Feeder(cluster.url, tmp_path)
    process = await feeder.start(3_700)
    await feeder.until_promised(4 * 50)
    await asyncio.to_thread(cluster.stop, "immediate")
    await feeder.until_promised(4 * 3_700)  # the feeds were never kept waiting
    assert process.returncode is None
    await asyncio.to_thread(lambda: cluster.start(**PRELOAD))
    code, errors = await ended(process)
    assert code == 0, errors
    assert re.search(r"trade events wait for the database: \d+ in memory, [1-9]\d+ on disk", errors)
    engine = create_engine(make_url(cluster.url), Settings.load(database_url=cluster.url))
    try:
        await feeder.check(engine)
        assert await scalar(engine, "SELECT count(*) FROM trades") == 4 * 3_700
    finally:
        await engine.dispose()
