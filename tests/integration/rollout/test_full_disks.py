"""Full disks, of this side and of the server: a clear error, nothing half-written, and it goes on when there is room again."""

from __future__ import annotations

import asyncio
import errno
import shutil
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from datalayer import DataIngestionPipeline, Settings, UnitOfWork
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.errors import DatabaseError
from datalayer.rollout.dual_writer import DualWriter
from datalayer.rollout.manager import DataMigrationManager
from datalayer.rollout.parquet_candles import ParquetCandles
from datalayer.rollout.phase_state import Phase
from datalayer.rollout.report_text import write_report
from tests.cache_folders import real_candles, write_file
from tests.integration.rollout.dual_writing import SETTINGS, SYMBOL, candle, enter
from tests.own_cluster import AS_USER, BINARIES, needs_own_cluster, new_cluster
from tests.small_disk import small_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.own_cluster import OwnCluster
    from tests.small_disk import SmallDisk

PRELOAD = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}


async def count(engine: AsyncEngine, table: str = "candles") -> int:
    async with engine.connect() as conn:
        return int(await conn.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 16) as disk:
        yield disk


async def test_parquet_of_the_dual_writer(engine: AsyncEngine, disk: SmallDisk, tmp_path: Path) -> None:
    await enter(engine, Phase.DUAL_WRITE)
    parquet = ParquetCandles(disk.folder)
    alarms: list[str | None] = []
    async with (
        DataIngestionPipeline(engine, outbox=tmp_path / "outbox", settings=SETTINGS) as pipeline,
        DualWriter(engine, pipeline, parquet, flush_after_s=0.05, on_alarm=alarms.append) as writer,
    ):
        await writer.ingest_ohlcv_candle(candle(0))
        await writer.flush()
        disk.fill()
        for minute in range(1, 50):
            await writer.ingest_ohlcv_candle(candle(minute))
        with pytest.raises(OSError, match="No space left"):
            await writer.flush()
        await asyncio.sleep(0.3)
        assert "No space left" in str(alarms[0])
        assert len(parquet.query_ohlcv_data(SYMBOL, "1m")) == 1  # as it was
        await pipeline.flush()
        assert await count(engine) == 50
        disk.make_room()
        await writer.flush()
        await asyncio.sleep(0.2)
        assert alarms[-1] is None
    assert len(parquet.query_ohlcv_data(SYMBOL, "1m")) == 50
    assert [path.name for path in disk.folder.glob("*BTC*")] == ["BTCUSDT_1m_live_2024-08.parquet"]


async def test_the_outbox_of_the_dual_writer(engine: AsyncEngine, disk: SmallDisk, tmp_path: Path) -> None:
    await enter(engine, Phase.DUAL_WRITE)
    cache = tmp_path / "cache"
    cache.mkdir()
    parquet = ParquetCandles(cache)
    async with (
        DataIngestionPipeline(engine, outbox=disk.folder / "outbox", settings=SETTINGS) as pipeline,
        DualWriter(engine, pipeline, parquet, flush_after_s=0.05) as writer,
    ):
        await writer.ingest_ohlcv_candle(candle(0))
        disk.fill()

        async def feed() -> None:
            for minute in range(1, 1_000):
                await writer.ingest_ohlcv_candle(candle(minute))

        feeding = asyncio.create_task(feed())
        await asyncio.sleep(1)
        assert not feeding.done()  # kept waiting: what is not safe is not called safe
        disk.make_room()
        await asyncio.wait_for(feeding, 60)
        await pipeline.flush()
        await writer.flush()
    assert await count(engine) == len(parquet.query_ohlcv_data(SYMBOL, "1m")) == 1_000


async def test_reports_and_the_copy_that_is_read(
    engine: AsyncEngine, disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    write_file(cache / "BTCUSDT_1m.parquet", real_candles(0, 2_000))
    disk.fill(left_bytes=4_096)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(disk.folder))
        report = await DataMigrationManager(engine, cache).migrate()
    assert "No space left" in str(report.files[0].failure)
    assert await count(engine) == 0
    report = await DataMigrationManager(engine, cache).migrate()
    assert report.is_right
    assert report.run is not None
    reports = disk.folder / "reports"
    with pytest.raises(OSError, match="No space left") as failed:
        await write_report(engine, report, reports)
    assert failed.value.errno == errno.ENOSPC
    assert not [path for path in reports.rglob("*") if path.is_file()]
    disk.make_room()
    again = await DataMigrationManager(engine, cache).verify(report.run.id)
    assert len(await write_report(engine, again, reports)) == 3


@pytest.fixture
async def filling() -> AsyncIterator[tuple[OwnCluster, SmallDisk]]:
    """A server whose tables are on a small disk; its log and catalog are not."""
    if not BINARIES or not list(BINARIES[0].parents[1].glob("lib/timescaledb.so")):
        pytest.skip("no server with TimescaleDB is installed here")
    with (
        new_cluster() as cluster,
        small_disk(cluster.data.parent / "disk", 24) as disk,
        cluster.running(**PRELOAD),
    ):
        space = disk.folder / "space"
        space.mkdir(mode=0o700)
        if AS_USER:
            shutil.chown(space, AS_USER["user"])
        await migrations.upgrade(Settings.load(database_url=cluster.url))
        await cluster.execute(
            f"CREATE TABLESPACE small LOCATION '{space}'",
            "ALTER DATABASE postgres SET default_tablespace = small",
        )
        yield cluster, disk


@needs_own_cluster[0]
async def test_of_the_server(filling: tuple[OwnCluster, SmallDisk], tmp_path: Path) -> None:
    cluster, disk = filling
    engine = create_engine(make_url(cluster.url), Settings.load(database_url=cluster.url))
    cache = tmp_path / "cache"
    candles = real_candles()
    write_file(cache / "BTCUSDT_1m.parquet", candles)
    migration = DataMigrationManager(engine, cache, rows_per_piece=500)
    disk.fill(left_bytes=200_000)
    with pytest.raises(DatabaseError, match="No space left on device") as refused:
        await migration.migrate()
    assert refused.value.sqlstate == "53100"
    async with engine.connect() as conn:
        told = await conn.scalar(text("SELECT coalesce(sum(inserted), 0) FROM migration_pieces"))
    assert await count(engine) == told < len(candles)  # whole pieces, and each in the ledger

    await enter(engine, Phase.DUAL_WRITE)
    async with (
        DataIngestionPipeline(engine, outbox=tmp_path / "outbox", settings=SETTINGS) as pipeline,
        DualWriter(engine, pipeline, ParquetCandles(tmp_path), flush_after_s=0.05) as writer,
    ):
        before = await count(engine)
        await asyncio.gather(*(writer.ingest_ohlcv_candle(candle(minute)) for minute in range(3_000)))
        await asyncio.sleep(3)
        assert await count(engine) < before + 3_000
        disk.make_room()
        await pipeline.flush()
        await writer.flush()
        assert pipeline.statistics.rejected == 0
    assert await count(engine, "rejected_records") == 0

    report = await migration.migrate()
    assert report.is_right
    async with UnitOfWork(engine) as uow:
        stored = await uow.candles.query_ohlcv_data(SYMBOL, "1m", source="stored")
    assert set(candles.index) <= set(stored.index)
    assert len(ParquetCandles(tmp_path).query_ohlcv_data(SYMBOL, "1m", live_only=True)) == 3_000
    await engine.dispose()
