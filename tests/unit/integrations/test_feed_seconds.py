from __future__ import annotations

import gzip
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from datalayer import Candle, Trade
from datalayer.domain.moments import EPOCH
from datalayer.integrations.binance.daily_files import parse_daily_klines
from datalayer.integrations.feeds.seconds import SecondBuilder, second_of
from tests.exchange_server.market import load_market
from tests.market_files import market_file

BTC = "BTC/USDT"


def trade(trade_id: int, second: float, price: float = 10.0) -> Trade:
    return Trade(BTC, EPOCH + timedelta(seconds=second), trade_id, price, 0.5)


def brief(candles: list[Candle]) -> list[tuple[int, float, float, int | None]]:
    return [(second_of(c.ts), float(c.open), float(c.close), c.trade_count) for c in candles]


def test_a_second_is_over_when_a_later_trade_follows() -> None:
    builder = SecondBuilder(BTC, "absent")
    taken = [
        builder.take(trade(n, at, price), is_next=True)
        for n, at, price in ((1, 0.5, 9.0), (2, 1.1, 10.0), (3, 1.2, 11.0), (4, 1.2, 12.0), (5, 4.0, 13.0))
    ]

    assert [brief(candles) for candles in taken] == [
        [],
        [],
        [],
        [],
        [(1, 10.0, 12.0, 3)],
    ]  # of 0 the beginning is unknown
    assert brief(builder.advance(5)) == [(4, 13.0, 13.0, 1)]
    assert builder.advance(5) == []


def test_silent_seconds_are_filled_if_that_is_wanted() -> None:
    builder = SecondBuilder(BTC, "fill")
    builder.take(trade(1, 0.5), is_next=True)
    builder.take(trade(2, 1.5, 11.0), is_next=True)

    assert brief(builder.take(trade(3, 4.5, 12.0), is_next=True)) == [
        (1, 11.0, 11.0, 1),
        (2, 11.0, 11.0, 0),
        (3, 11.0, 11.0, 0),
    ]
    assert brief(builder.advance(7)) == [(4, 12.0, 12.0, 1), (5, 12.0, 12.0, 0), (6, 12.0, 12.0, 0)]


def test_seconds_that_touch_a_hole_are_withheld_until_it_is_filled() -> None:
    builder = SecondBuilder(BTC, "fill")
    for n, at in ((1, 0.5), (2, 1.5), (3, 2.5)):
        builder.take(trade(n, at), is_next=True)
    block = builder.block(EPOCH + timedelta(seconds=2.5), EPOCH + timedelta(seconds=4.2))

    assert builder.take(trade(9, 4.2), is_next=True) == []
    assert brief(builder.take(trade(10, 6.1), is_next=True)) == [(5, 10.0, 10.0, 0)]
    assert builder.due_blocks() == []
    block.is_complete = True
    assert [(due.first, due.last) for due in builder.due_blocks()] == [(2, 4)]
    assert not builder.is_withheld(3)


def test_a_late_trade_has_its_second_made_anew() -> None:
    builder = SecondBuilder(BTC, "absent")
    for n, at in ((1, 0.5), (2, 1.5), (4, 2.5)):
        builder.take(trade(n, at), is_next=True)

    assert builder.take(trade(3, 1.9), is_next=False) == []
    assert [(due.first, due.last) for due in builder.due_blocks()] == [(1, 1)]


@pytest.mark.parametrize("silent", ["absent", "fill"])
def test_live_seconds_of_the_recording_make_the_exchanges_minutes(silent: str) -> None:
    market = load_market()
    builder, candles = SecondBuilder(BTC, silent), list[Candle]()  # type: ignore[arg-type]
    for data in market.trades:
        ts = EPOCH + timedelta(milliseconds=data["T"])
        candles += builder.take(Trade(BTC, ts, data["t"], float(data["p"]), float(data["q"])), is_next=True)
    frame = pd.DataFrame(candles).set_index("ts")
    steps = frame.assign(volume=[int(Decimal(str(v)) * 10**5) for v in frame["volume"]])
    minutes = steps.resample("1min").agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "trade_count": "sum"}
    )
    days = [
        parse_daily_klines(
            gzip.decompress(market_file(f"vision_daily_csv/BTCUSDT-1m-2024-08-{day}.csv.gz").read_bytes())
        )
        for day in ("08", "09")
    ]
    official = pd.concat(days).loc["2024-08-08 23:55":"2024-08-09 00:04"]  # type: ignore[misc]
    ours = minutes.loc[official.index]
    assert len(official) == 10
    for name in ("open", "high", "low", "close", "trade_count"):
        assert np.array_equal(ours[name].to_numpy(float), official[name].to_numpy(float))
    assert np.array_equal(ours["volume"].to_numpy(float) / 10**5, official["volume"].to_numpy())
