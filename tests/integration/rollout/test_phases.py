"""The switch from Parquet to the database with writers and readers at work all the while, and every row accounted for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

import datalayer.sync
from datalayer import Candle, DataIngestionPipeline, Timeframe, UnitOfWork
from datalayer.errors import RolloutRefusedError
from datalayer.ingestion import IngestionSettings
from datalayer.rollout.dual_writer import DualWriter
from datalayer.rollout.manager import DataMigrationManager
from datalayer.rollout.parquet_candles import VALUES, ParquetCandles
from datalayer.rollout.phase_state import Phase, RolloutState
from datalayer.rollout.phases import Rollout
from datalayer.rollout.switched_candles import SwitchedCandles
from tests.cache_folders import real_candles, write_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings

SYMBOL = "BTC/USDT"
READS = 5


def candles_until_now(rows: int) -> pd.DataFrame:
    """Real values at the seconds that end now: a market that trades while the switch is made."""
    frame = real_candles(0, rows)
    end = pd.Timestamp(datetime.now(UTC)).floor("1s") - pd.Timedelta(seconds=2)
    frame.index = pd.date_range(end=end, periods=rows, freq="1s", tz="UTC", unit="us", name="timestamp")
    return frame


class Market:
    """Sends a candle of one second each turn, and reads all the while; remembers what it sent."""

    def __init__(self, engine: AsyncEngine, folder: Path, outbox: Path) -> None:
        self.engine, self.folder, self.outbox = engine, folder, outbox
        self.parquet = ParquetCandles(folder)
        self.reader = SwitchedCandles(engine, self.parquet, settle_s=4)
        self.values = real_candles(10_000, 20_000)
        self.sent: dict[datetime, Candle] = {}
        self.history = candles_until_now(600)
        self.read_rows = 0

    def candle(self, ts: datetime) -> Candle:
        row = self.values.iloc[len(self.sent)]
        prices = {name: float(row[name]) for name in VALUES}
        return Candle(SYMBOL, Timeframe.S1, ts, **prices)

    @asynccontextmanager
    async def trading(self) -> AsyncIterator[DualWriter]:
        settings = IngestionSettings(flush_after_s=0.05)
        async with (
            DataIngestionPipeline(self.engine, outbox=self.outbox, settings=settings) as pipeline,
            DualWriter(self.engine, pipeline, self.parquet, flush_after_s=0.1) as writer,
        ):
            tasks = [asyncio.create_task(self._write(writer)), asyncio.create_task(self._read())]
            try:
                yield writer
            finally:
                for task in tasks:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(result, asyncio.CancelledError), result
                await pipeline.drain()

    async def _write(self, writer: DualWriter) -> None:
        while True:
            ts = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
            if ts not in self.sent and ts > self.history.index[-1]:
                candle = self.candle(ts)
                await writer.ingest_ohlcv_candle(candle)
                self.sent[ts] = candle
            await asyncio.sleep(0.05)

    async def _read(self) -> None:
        while True:
            frame = await self.reader.query_ohlcv_data(SYMBOL, "1s", start=self.history.index[0])
            assert frame.index.is_monotonic_increasing
            self.read_rows = max(self.read_rows, len(frame))
            await asyncio.sleep(0.1)

    def expected(self) -> pd.DataFrame:
        rows = {ts: [getattr(candle, name) for name in VALUES] for ts, candle in self.sent.items()}
        sent = pd.DataFrame.from_dict(rows, orient="index", columns=list(VALUES))
        sent.index = pd.DatetimeIndex(sent.index, tz="UTC").as_unit("us")
        return pd.concat([self.history, sent]).sort_index()


async def stored(engine: AsyncEngine) -> pd.DataFrame:
    async with UnitOfWork(engine) as uow:
        frame = await uow.candles.query_ohlcv_data(SYMBOL, "1s", source="stored")
    return frame[list(VALUES)]


def assert_same(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        frame[list(VALUES)], expected, check_freq=False, check_names=False, check_exact=True
    )


@pytest.fixture
def market(engine: AsyncEngine, tmp_path: Path) -> Market:
    folder = tmp_path / "cache"
    market = Market(engine, folder, tmp_path / "outbox")
    write_file(folder / "BTCUSDT_1s.parquet", market.history.iloc[:400])
    write_file(folder / "BTCUSDT_1s_historical.parquet", market.history.iloc[350:])
    return market


def rollout_of(market: Market, archive: Path | None = None) -> Rollout:
    manager = DataMigrationManager(market.engine, market.folder)
    return Rollout(
        market.engine, manager, market.parquet, archive=archive, min_shadow_reads=READS, settle_s=2
    )


async def until_advanced(rollout: Rollout) -> Phase:
    """Advance, as soon as it is not only time that is missing."""
    for _ in range(100):
        try:
            return await rollout.advance()
        except RolloutRefusedError as exc:
            missing = exc.missing
        passing = ("are wanted", "no candle has reached")
        assert all(any(text in reason for text in passing) for reason in missing), missing
        await asyncio.sleep(0.3)
    pytest.fail("the conditions never held")


async def test_all_phases_forward_and_back_with_writers_and_readers_at_work(
    market: Market, tmp_path: Path
) -> None:
    rollout = rollout_of(market, tmp_path / "archive")
    with pytest.raises(RolloutRefusedError, match="no phase before"):
        await rollout.back()
    assert await rollout.advance() is Phase.DUAL_WRITE
    async with market.trading():
        assert await until_advanced(rollout) is Phase.MIGRATE
        with pytest.raises(RolloutRefusedError, match=r"BTCUSDT_1s\.parquet is not migrated"):
            await rollout.advance()
        assert (await DataMigrationManager(market.engine, market.folder).migrate()).run is not None
        for phase in (Phase.VERIFY, Phase.SWITCH_READS, Phase.STOP_PARQUET):
            assert await until_advanced(rollout) is phase
        await asyncio.sleep(2)  # only the database is written now
        for phase in (Phase.SWITCH_READS, Phase.VERIFY, Phase.MIGRATE):
            assert await rollout.back() is phase
        await asyncio.sleep(1.5)
        for phase in (Phase.VERIFY, Phase.SWITCH_READS):
            assert await until_advanced(rollout) is phase
        shadow = (await rollout.status()).shadow
        assert shadow.different == 0
    expected = market.expected()
    assert_same(await stored(market.engine), expected)
    assert_same(market.parquet.query_ohlcv_data(SYMBOL, "1s"), expected)
    assert market.read_rows > 600

    async with market.trading():
        assert await until_advanced(rollout) is Phase.STOP_PARQUET
    assert await rollout.advance() is Phase.ARCHIVE
    assert not list(market.folder.rglob("*.parquet"))
    assert_same(await stored(market.engine), market.expected())
    with pytest.raises(RolloutRefusedError, match="put away"):
        await rollout.back()
    with pytest.raises(RolloutRefusedError, match="last phase"):
        await rollout.advance()


async def test_a_difference_keeps_the_reads_from_being_switched(market: Market) -> None:
    rollout = rollout_of(market)
    await rollout.advance()
    async with market.trading():
        await until_advanced(rollout)
        await DataMigrationManager(market.engine, market.folder).migrate()
        await until_advanced(rollout)
        async with market.engine.begin() as conn:
            altered = text("UPDATE candles SET volume = volume + 1 WHERE ts = :ts")
            await conn.execute(altered, {"ts": market.history.index[100]})
        while not (await rollout.status()).shadow.different:  # noqa: ASYNC110 (no event of ours tells)
            await asyncio.sleep(0.05)
        with pytest.raises(RolloutRefusedError) as refused:
            await rollout.advance()
    assert any("altered" in reason for reason in refused.value.missing)
    assert any("compared reads differ" in reason for reason in refused.value.missing)
    assert (await rollout.status()).current.phase is Phase.VERIFY


async def test_parquet_that_cannot_be_written_is_repaired(market: Market) -> None:
    rollout = rollout_of(market)
    await rollout.advance()
    alarms: list[str | None] = []
    settings = IngestionSettings(flush_after_s=0.05)
    async with DataIngestionPipeline(market.engine, outbox=market.outbox, settings=settings) as pipeline:
        writer = DualWriter(
            market.engine, pipeline, market.parquet, flush_after_s=0.05, on_alarm=alarms.append
        )
        async with writer:
            await writer.ingest_ohlcv_candle(
                market.candle(market.history.index[-1].to_pydatetime() + timedelta(seconds=1))
            )
            await writer.flush()
            await asyncio.sleep(2)  # another second closes
            market.parquet.folder = market.folder / "absent"  # as if the disk were gone
            await writer.ingest_ohlcv_candle(
                market.candle(datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1))
            )
            await asyncio.sleep(0.5)
            assert alarms
            assert alarms[0] is not None
            market.parquet.folder = market.folder
            await asyncio.sleep(0.5)
            assert alarms[-1] is None
        await pipeline.drain()
    live = market.parquet.query_ohlcv_data(SYMBOL, "1s", live_only=True)
    assert len(live) == 2


async def test_what_a_killed_writer_did_not_bring_to_parquet_comes_from_the_database(market: Market) -> None:
    rollout = rollout_of(market)
    await rollout.advance()
    settings = IngestionSettings(flush_after_s=0.05)
    async with DataIngestionPipeline(market.engine, outbox=market.outbox, settings=settings) as pipeline:
        writer = DualWriter(market.engine, pipeline, market.parquet, flush_after_s=1_000)
        started = datetime.now(UTC).replace(microsecond=0)
        await asyncio.sleep(3)
        for second in (1, 2):
            candle = market.candle(started + timedelta(seconds=second - 1))
            await writer.ingest_ohlcv_candle(candle)
            market.sent[candle.ts] = candle
        await pipeline.flush()  # and then it is killed, before it writes to Parquet
        assert not len(market.parquet.query_ohlcv_data(SYMBOL, "1s", live_only=True))
        async with DualWriter(market.engine, pipeline, market.parquet) as again:
            await again.flush()
    async with market.engine.connect() as conn:
        began = await RolloutState(conn).began_at()
    assert began is not None
    live = market.parquet.query_ohlcv_data(SYMBOL, "1s", live_only=True)
    assert set(live.index) == {ts for ts in market.sent if ts >= began.replace(microsecond=0)}


async def test_a_row_in_quarantine_is_no_difference_but_has_to_be_accepted(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    broken = real_candles(0, 200)
    broken.iloc[100, broken.columns.get_loc("high")] = 1.0  # type: ignore[index]
    write_file(tmp_path / "BTCUSDT_1m.parquet", broken)
    manager, parquet = DataMigrationManager(engine, tmp_path), ParquetCandles(tmp_path)
    await manager.migrate()
    async with UnitOfWork(engine) as uow:
        await RolloutState(uow.connection).enter(Phase.VERIFY, "test", before=Phase.PARQUET)
        await uow.commit()
    assert len(await SwitchedCandles(engine, parquet).query_ohlcv_data(SYMBOL, "1m")) == 200
    rollout = Rollout(engine, manager, parquet, min_shadow_reads=1)
    assert (await rollout.status()).shadow.different == 0
    waits = "no candle has reached both sides"
    missing = await rollout.missing()
    (refused,) = [text for text in missing if waits not in text]
    assert "1 rows are in quarantine" in refused
    assert "--accept-rejected" in refused
    accepted = Rollout(engine, manager, parquet, min_shadow_reads=1, accept_rejected=True)
    assert all(waits in text for text in await accepted.missing())


async def test_of_two_who_change_the_phase_at_once_one_is_refused(market: Market) -> None:
    both = await asyncio.gather(*(rollout_of(market).advance() for _ in range(2)), return_exceptions=True)
    assert sum(result is Phase.DUAL_WRITE for result in both) == 1
    assert sum(isinstance(result, RolloutRefusedError) for result in both) == 1
    assert len((await rollout_of(market).status()).history) == 1


def test_a_blocking_provider_reads_the_side_of_the_phase(settings: Settings, tmp_path: Path) -> None:
    write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 200))
    with datalayer.sync.connect(settings=settings) as provider:
        reader = SwitchedCandles(provider.asynchronous.database, ParquetCandles(tmp_path))
        found = provider.run(reader.query_ohlcv_data(SYMBOL, "1m", limit=50))
    assert np.array_equal(found[list(VALUES)], real_candles(150, 200))
