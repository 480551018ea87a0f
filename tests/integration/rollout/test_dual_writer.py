"""The dual writer beside other writers, and with the database or the disk away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from datalayer import Candle, DataIngestionPipeline, Settings, Timeframe, UnitOfWork
from datalayer.db.connection import create_engine
from datalayer.errors import DatabaseUnavailableError
from datalayer.rollout.dual_writer import DualWriter
from datalayer.rollout.parquet_candles import VALUES, ParquetCandles
from datalayer.rollout.phase_state import Phase
from datalayer.rollout.repair import repair_parquet
from datalayer.rollout.switched_candles import SwitchedCandles
from tests.integration.rollout import dual_writing
from tests.integration.rollout.dual_writing import SYMBOL, candle, enter
from tests.own_cluster import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

SETTINGS = replace(dual_writing.SETTINGS, close_timeout_s=0.2)


async def stored(engine: AsyncEngine) -> list[float]:
    async with UnitOfWork(engine) as uow:
        return list((await uow.candles.query_ohlcv_data(SYMBOL, "1m", source="stored"))["close"])


def closes(parquet: ParquetCandles) -> list[float]:
    return list(parquet.query_ohlcv_data(SYMBOL, "1m")["close"])


@pytest.fixture
def away() -> AsyncEngine:
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/postgres"
    return create_engine(make_url(url), Settings.load(database_url=url, connect_timeout_s=1))


class Meddled(ParquetCandles):
    """A folder into which somebody writes a newer revision between the look of a repair and its writing."""

    meddle: Any = None

    def query_ohlcv_data(self, *arguments: Any, **options: Any) -> pd.DataFrame:
        found = super().query_ohlcv_data(*arguments, **options)
        if (meddle := self.meddle) is not None:
            self.meddle = None
            meddle()
        return found


async def test_a_revision_that_comes_while_parquet_is_repaired_is_the_one_that_stays(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await enter(engine, Phase.DUAL_WRITE)
    loop = asyncio.get_running_loop()
    parquet = Meddled(tmp_path)
    async with DataIngestionPipeline(engine, outbox=tmp_path / "outbox", settings=SETTINGS) as pipeline:
        await pipeline.ingest_ohlcv_candle(candle(0, 2.0))
        await pipeline.flush()
        writer = DualWriter(engine, pipeline, parquet, flush_after_s=1_000)

        async def revise() -> None:
            await writer.ingest_ohlcv_candle(candle(0, 3.0))
            await writer._write_waiting()
            assert closes(ParquetCandles(tmp_path)) == [3.0]

        parquet.meddle = lambda: asyncio.run_coroutine_threadsafe(revise(), loop).result()
        await writer._phases.current()
        await writer.flush()
        await writer.flush()
        await pipeline.flush()
    assert await stored(engine) == closes(parquet) == [3.0]


async def test_who_repairs_beside_a_writer_brings_only_what_is_absent(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    await enter(engine, Phase.DUAL_WRITE)
    parquet = ParquetCandles(tmp_path)
    async with DataIngestionPipeline(engine, outbox=None, settings=SETTINGS) as pipeline:
        await pipeline.ingest_ohlcv_candles([candle(0, 2.0), candle(1, 2.0)])
        await pipeline.flush()
    async with UnitOfWork(engine) as uow:
        frame = await uow.candles.query_ohlcv_data(SYMBOL, "1m", source="stored")
    parquet.write(SYMBOL, Timeframe.M1, frame[[*VALUES]].iloc[:1].assign(high=9.0, close=9.0))
    assert await repair_parquet(engine, parquet, absent_only=True) == {(SYMBOL, "1m"): 1}
    assert closes(parquet) == [9.0, 2.0]
    assert await repair_parquet(engine, parquet) == {(SYMBOL, "1m"): 1}
    assert closes(parquet) == [2.0, 2.0]


async def test_without_a_database_from_the_start_both_sides_get_everything(
    engine: AsyncEngine, away: AsyncEngine, tmp_path: Path
) -> None:
    parquet = ParquetCandles(tmp_path)
    outbox = tmp_path / "outbox"
    async with (
        DataIngestionPipeline(away, outbox=outbox, settings=SETTINGS) as pipeline,
        DualWriter(away, pipeline, parquet, flush_after_s=0.05) as writer,
    ):
        for minute in range(3):
            await writer.ingest_ohlcv_candle(candle(minute, 2.0))
        await asyncio.sleep(0.2)
        assert closes(parquet) == [2.0] * 3
        with pytest.raises(DatabaseUnavailableError):  # whoever reads must know where from
            await SwitchedCandles(away, parquet).query_ohlcv_data(SYMBOL, "1m")
    await away.dispose()
    await enter(engine, Phase.DUAL_WRITE)
    async with DataIngestionPipeline(engine, outbox=outbox, settings=SETTINGS) as pipeline:
        await pipeline.flush()
    assert await stored(engine) == [2.0] * 3


@pytest.mark.parametrize("phase", [Phase.DUAL_WRITE, Phase.SWITCH_READS])
async def test_a_reader_goes_on_from_parquet_when_the_database_goes_away(
    engine: AsyncEngine, away: AsyncEngine, tmp_path: Path, phase: Phase
) -> None:
    await enter(engine, phase)
    async with DataIngestionPipeline(engine, outbox=None, settings=SETTINGS) as pipeline:
        await pipeline.ingest_ohlcv_candle(candle(0, 2.0))
        await pipeline.flush()
    parquet = ParquetCandles(tmp_path)
    await repair_parquet(engine, parquet)
    reader = SwitchedCandles(engine, parquet)
    assert list((await reader.query_ohlcv_data(SYMBOL, "1m"))["close"]) == [2.0]
    reader._database = reader._phases._database = away
    await asyncio.sleep(1.1)
    if phase.reads_database:  # old data are not sold as new ones
        with pytest.raises(DatabaseUnavailableError):
            await reader.query_ohlcv_data(SYMBOL, "1m")
    else:
        assert list((await reader.query_ohlcv_data(SYMBOL, "1m"))["close"]) == [2.0]
    await away.dispose()


async def test_a_damaged_file_keeps_no_other_series_waiting(engine: AsyncEngine, tmp_path: Path) -> None:
    await enter(engine, Phase.DUAL_WRITE)
    (tmp_path / "AAAUSDT_1m_live_2024-08.parquet").write_bytes(b"PAR1 and nothing more")
    parquet = ParquetCandles(tmp_path)
    alarms: list[str | None] = []
    async with (
        DataIngestionPipeline(engine, outbox=tmp_path / "outbox", settings=SETTINGS) as pipeline,
        DualWriter(engine, pipeline, parquet, flush_after_s=0.05, on_alarm=alarms.append) as writer,
    ):
        other = candle(0, 2.0)
        await writer.ingest_ohlcv_candle(
            Candle("AAA/USDT", other.timeframe, other.ts, 1.0, 2.0, 1.0, 2.0, 1.0, 1)
        )
        await writer.ingest_ohlcv_candle(other)
        await asyncio.sleep(0.5)
        assert closes(parquet) == [2.0]
        assert alarms
        assert alarms[0] is not None
        with pytest.raises(OSError, match="AAAUSDT_1m_live"):
            parquet.query_ohlcv_data("AAA/USDT", "1m")
