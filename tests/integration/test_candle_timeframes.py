"""Several timeframes side by side: what a row shows was closed at its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from datalayer.db.copy_transfer import copy_out
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories import CandleRepository, InstrumentRepository, candle_reads
from datalayer.repositories.rescale import widen_scales
from tests.market_files import market_frame

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NAMES = ["open", "high", "low", "close", "volume"]


@pytest.fixture
async def candles(conn: AsyncConnection) -> CandleRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 6)
    repository = CandleRepository(conn)
    year = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet")
    await repository.upsert_candles(BTC, "1m", year.loc["2024-08-07":"2024-08-09"])  # type: ignore[misc]
    return repository


async def test_an_hour_appears_when_it_is_over(candles: CandleRepository) -> None:
    frames = await candles.query_multi_timeframe_ohlcv(
        BTC, ["1m", "1h"], start=START + 9 * HOUR, end=START + 11 * HOUR
    )
    assert list(frames) == ["1m", "1h"]
    minutes, hours = frames["1m"], frames["1h"]
    assert minutes.index.equals(hours.index)
    assert minutes.index[0] == START + 9 * HOUR + MINUTE
    assert minutes.index[-1] == START + 11 * HOUR
    at_ten = START + 10 * HOUR
    assert hours.loc[at_ten - MINUTE, "open_time"] == START + 8 * HOUR
    assert hours.loc[at_ten, "open_time"] == START + 9 * HOUR
    assert minutes.loc[at_ten, "open_time"] == at_ten - MINUTE
    assert ((hours["open_time"] + HOUR) <= hours.index).all()


@pytest.mark.parametrize("limit", [None, 1, 90])
async def test_each_row_is_what_was_asked_for_at_its_time(
    candles: CandleRepository, limit: int | None
) -> None:
    as_of = START + timedelta(hours=30, seconds=20)
    labels = ["4h", "1m", "15m", "1d"]
    start = START + 29 * HOUR if limit is None else None
    frames = await candles.query_multi_timeframe_ohlcv(BTC, labels, start=start, limit=limit, as_of=as_of)
    assert list(frames) == labels
    moments = frames["1m"].index
    assert len(moments) == (60 if limit is None else limit)
    for moment in moments[::17]:
        for label in labels:
            alone = await candles.query_ohlcv_data(BTC, label, limit=1, as_of=moment)
            row = frames[label].loc[moment]
            assert row["open_time"] == alone.index[0]
            assert row[NAMES].to_list() == alone.iloc[0][NAMES].to_list()


async def test_a_candle_before_a_long_gap_stays_in_view_and_tells_its_age(candles: CandleRepository) -> None:
    week = START + timedelta(days=7)
    minutes = await candles.query_ohlcv_data(BTC, "1m", columns=NAMES, limit=10)
    minutes.index = pd.date_range(week, periods=10, freq=MINUTE, unit="us")
    await candles.upsert_candles(BTC, "1m", minutes)
    for query in ({"start": week}, {"limit": 10}):
        frames = await candles.query_multi_timeframe_ohlcv(
            BTC,
            ["1m", "1h"],
            as_of=week + 10 * MINUTE,
            **query,  # type: ignore[arg-type]
        )
        assert len(frames["1h"]) == 10
        assert (frames["1h"]["open_time"] == START + 47 * HOUR).all()


async def test_before_the_first_close_there_is_nothing(candles: CandleRepository) -> None:
    frames = await candles.query_multi_timeframe_ohlcv(
        BTC, ["1m", "1d"], end=START - timedelta(days=1) + 2 * MINUTE, price_type="fixed"
    )
    assert frames["1d"]["open_time"].isna().all()
    assert frames["1d"]["close"].dtype == "Int64"
    assert frames["1d"]["close"].isna().all()
    assert len(frames["1m"]) == 2


async def test_unaligned_each_timeframe_is_as_it_is(candles: CandleRepository) -> None:
    as_of = START + timedelta(hours=30, seconds=20)
    frames = await candles.query_multi_timeframe_ohlcv(
        BTC, list(Timeframe), limit=3, as_of=as_of, align=False, include_forming=True
    )
    assert list(frames) == [t.label for t in Timeframe]
    for label, frame in frames.items():
        alone = await candles.query_ohlcv_data(BTC, label, limit=3, as_of=as_of, include_forming=True)
        pd.testing.assert_frame_equal(frame, alone)


async def test_what_is_stored_of_all_timeframes_comes_in_one_query(
    candles: CandleRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of = START + timedelta(hours=30)
    for timeframe in Timeframe:
        if timeframe > Timeframe.M1:
            made = await candles.query_ohlcv_data(
                BTC, timeframe, columns=NAMES, source="generated", as_of=as_of
            )
            await candles.upsert_candles(BTC, timeframe, made)
    seen: list[str] = []

    async def counted(conn: AsyncConnection, query: str, types: Any) -> Any:
        seen.append(query)
        return await copy_out(conn, query, types)

    monkeypatch.setattr(candle_reads, "copy_out", counted)
    labels = ["1m", "5m", "15m", "1h", "4h", "1d"]
    frames = await candles.query_multi_timeframe_ohlcv(
        BTC, labels, start=START + 25 * HOUR, end=as_of, as_of=as_of
    )
    assert len(seen) == 1
    assert len(frames) == len(labels)
    assert all((frame["source"] == "stored").all() for frame in frames.values())


async def test_nothing_is_empty_frames_of_the_right_kind(candles: CandleRepository) -> None:
    frames = await candles.query_multi_timeframe_ohlcv(BTC, ["5m", "1h"], as_of=START - timedelta(days=9))
    for frame in frames.values():
        assert frame.empty
        assert str(frame.index.dtype) == "datetime64[us, UTC]"
        assert frame.columns.to_list() == ["open_time", *NAMES, "trade_count", "source"]
        assert str(frame["close"].dtype) == "float64"
        assert str(frame["open_time"].dtype) == "datetime64[us, UTC]"


async def test_unusable_questions_are_refused(candles: CandleRepository) -> None:
    for wrong in ([], ["1m", "60s"]):
        with pytest.raises(InvalidInputError, match="give at least one, each once"):
            await candles.query_multi_timeframe_ohlcv(BTC, wrong)
    with pytest.raises(InvalidInputError, match="use align=False"):
        await candles.query_multi_timeframe_ohlcv(BTC, ["1m", "1h"], include_forming=True)


@pytest.mark.parametrize("price_type", ["float", "fixed"])
async def test_a_scale_that_is_widened_between_two_reads_mixes_nothing(
    candles: CandleRepository, conn: AsyncConnection, monkeypatch: pytest.MonkeyPatch, price_type: Any
) -> None:
    """Rows that lie before a gap are read by a second statement."""
    week = START + timedelta(days=7)
    later = await candles.query_ohlcv_data(BTC, "1m", columns=NAMES, limit=1)
    later.index = pd.DatetimeIndex([week]).as_unit("us")
    await candles.upsert_candles(BTC, "1m", later)
    really, calls = candle_reads.CandleReader.read, []

    async def read(self: Any, *arguments: Any) -> Any:
        found = await really(self, *arguments)
        calls.append(arguments)
        if len(calls) == 1:
            await widen_scales(conn, BTC, price_scale=5)
        return found

    monkeypatch.setattr(candle_reads.CandleReader, "read", read)
    hours = await candles.query_multi_timeframe_ohlcv(
        BTC, ["1m", "1h"], start=week, as_of=week + MINUTE, price_type=price_type
    )
    assert len(calls) > 2
    monkeypatch.undo()
    alone = await candles.query_ohlcv_data(BTC, "1h", limit=1, as_of=week - HOUR, price_type=price_type)
    assert hours["1h"][NAMES].iloc[0].to_list() == alone[NAMES].iloc[0].to_list()
    assert hours["1h"]["open_time"].iloc[0] == alone.index[0]
