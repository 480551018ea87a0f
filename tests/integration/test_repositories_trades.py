"""Trades in and out of the real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.steps import infer_scale
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.repositories import InstrumentRepository, TradeRepository, WriteCounts
from tests.market_files import market_frame

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SIDES = {"buy": 1, "sell": -1}


@pytest.fixture
async def trades(conn: AsyncConnection) -> TradeRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 5)
    return TradeRepository(conn)


def real_trades() -> pd.DataFrame:
    frame = market_frame("trades/binance_spot_BTCUSDT_20240808-09.parquet")
    frame["side"] = frame["side"].map(SIDES).astype(np.int8)
    return frame[["trade_id", "price", "size", "side"]]


def three() -> pd.DataFrame:
    """Two trades of one moment, alike but for their id, and a later one."""
    index = pd.DatetimeIndex([START, START, START + timedelta(microseconds=1)], name="timestamp").as_unit(
        "us"
    )
    columns = {"trade_id": [2, 1, 3], "price": [100.25] * 3, "size": [0.5] * 3, "side": [1, 1, 0]}
    return pd.DataFrame(columns, index=index).astype({"side": np.int8})


async def test_real_trades_come_back_equal_and_again_change_nothing(trades: TradeRepository) -> None:
    frame = real_trades()
    assert (len(frame), int(frame.index.duplicated().sum())) == (19_904, 12_796)
    assert await trades.insert_trades(BTC, frame.iloc[::-1]) == WriteCounts(inserted=19_904)
    back = await trades.query_trades(BTC)
    pd.testing.assert_frame_equal(back, frame.sort_values(["timestamp", "trade_id"]), check_exact=True)
    assert await trades.insert_trades(BTC, frame) == WriteCounts(unchanged=19_904)
    assert await trades.insert_trades(BTC, frame.head(0)) == WriteCounts()
    last = await trades.query_trades(BTC, limit=700)
    pd.testing.assert_frame_equal(last, back.tail(700))


async def test_trades_meet_those_in_compressed_chunks(engine: AsyncEngine) -> None:
    frame = real_trades()
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 5)
        assert await TradeRepository(conn).insert_trades(BTC, frame.iloc[::2]) == WriteCounts(inserted=9952)
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(text("SELECT compress_chunk(show_chunks('trades'))"))
    async with engine.begin() as conn:
        trades = TradeRepository(conn)
        assert await trades.insert_trades(BTC, frame) == WriteCounts(inserted=9952, unchanged=9952)
        assert len(await trades.query_trades(BTC)) == 19_904


async def test_a_stored_trade_is_left_as_it_is(trades: TradeRepository) -> None:
    await trades.insert_trades(BTC, three())
    assert await trades.insert_trades(BTC, three().assign(price=99.0)) == WriteCounts(unchanged=3)
    back = await trades.query_trades(BTC)
    assert back["price"].to_list() == [100.25] * 3
    assert back["trade_id"].to_list() == [1, 2, 3]
    assert back["side"].to_list() == [1, 1, 0]


async def test_ranges_visibility_and_price_types(trades: TradeRepository) -> None:
    await trades.insert_trades(BTC, three())
    tick = timedelta(microseconds=1)
    assert len(await trades.query_trades(BTC, START, START + tick)) == 2
    assert len(await trades.query_trades(BTC, as_of=START)) == 2
    assert len(await trades.query_trades(BTC, as_of=START - tick)) == 0
    assert (await trades.query_trades(BTC, price_type="fixed"))["price"].to_list() == [10_025] * 3
    assert [str(size) for size in (await trades.query_trades(BTC, price_type="decimal"))["size"]] == [
        "0.50000"
    ] * 3
    nothing = await trades.query_trades(BTC, end=START)
    assert nothing.dtypes.equals(three().dtypes)
    assert str(nothing.index.dtype) == "datetime64[us, UTC]"


async def test_trades_without_an_id_are_refused(trades: TradeRepository) -> None:
    frame = market_frame("trades/questdb_coinbase_BTC-USD_trades_20230905.parquet")
    frame["side"] = frame["side"].map(SIDES)
    assert infer_scale(frame["size"].to_numpy()) == 8
    with pytest.raises(ScaleError, match="size="):
        await trades.insert_trades(BTC, frame)
    with pytest.raises(InvalidInputError, match="trade_id=None: row 0 has no value"):
        await trades.insert_trades(BTC, frame.assign(size=frame["size"].round(5).clip(lower=0.1)))


UNUSABLE = {
    "missing": (three().drop(columns="trade_id"), "missing: trade_id"),
    "side": (three().assign(side=[1, 2, 0]), "side=2: row 1 is not in -1 … 1"),
    "words": (three().assign(side="buy"), "side='(str|object)': give a column of integers"),
    "size": (three().assign(size=[1.0, 1, 0]), r"size=0\.0: row 2 is not above zero"),
    "differ": (pd.concat([three(), three().head(1).assign(size=0.75)]), "same key ts=.*, trade_id=2 differ"),
    "naive": (three().tz_localize(None), "naive"),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_unusable_frames_are_refused(trades: TradeRepository, case: str) -> None:
    frame, reason = UNUSABLE[case]
    with pytest.raises(InvalidInputError, match=reason):
        await trades.insert_trades(BTC, frame)
    assert (await trades.query_trades(BTC)).empty


async def test_ids_up_to_the_end_of_bigint_are_kept(trades: TradeRepository) -> None:
    frame = three().assign(trade_id=[2**63 - 1, 2**53 + 1, -1])
    await trades.insert_trades(BTC, frame)
    assert (await trades.query_trades(BTC))["trade_id"].to_list() == [2**53 + 1, 2**63 - 1, -1]


@pytest.mark.parametrize(
    ("last_id", "dtype"),
    [(2**53 + 1, "float64"), (2**53 + 1, "float64[pyarrow]"), (2**63, "Float64"), (2**24 + 1, "float32")],
)
async def test_an_id_that_a_float_may_have_altered_is_refused(
    trades: TradeRepository, last_id: int, dtype: str
) -> None:
    frame = three().assign(trade_id=[1.0, 2.0, float(last_id)]).astype({"trade_id": dtype})
    with pytest.raises(InvalidInputError, match=r"row 2 .* too large to be exact as a float"):
        await trades.insert_trades(BTC, frame)
    assert await trades.insert_trades(BTC, frame.head(2)) == WriteCounts(inserted=2)
