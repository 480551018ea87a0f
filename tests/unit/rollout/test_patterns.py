"""What the names of files say."""

from __future__ import annotations

import pytest

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.rollout.patterns import FilePattern, named_by


@pytest.mark.parametrize(
    ("path", "kind", "symbol", "timeframe"),
    [
        ("ETHUSDT_1m.parquet", "candle", "ETH/USDT", Timeframe.M1),
        ("BTC-USDT_1h.parquet", "candle", "BTC/USDT", Timeframe.H1),
        ("BTC_USDT_4h.parquet", "candle", "BTC/USDT", Timeframe.H4),
        ("btcusdt_5m.parquet", "candle", "BTC/USDT", Timeframe.M5),
        ("BTCUSDT_1m_2024.parquet", "candle", "BTC/USDT", Timeframe.M1),
        ("BTCUSDT_1m_2024-12-31.parquet", "candle", "BTC/USDT", Timeframe.M1),
        ("ETHUSDT_1d_historical.parquet", "candle", "ETH/USDT", Timeframe.D1),
        ("binance_spot_BTCUSDT_1m_2018.parquet", "candle", "BTC/USDT", Timeframe.M1),
        ("old/deep/SOLUSDT_15min.parquet", "candle", "SOL/USDT", Timeframe.M15),
        ("BTC-USDT/1m.parquet", "candle", "BTC/USDT", Timeframe.M1),
        ("cache/ETHUSDT/1s_2024.parquet", "candle", "ETH/USDT", Timeframe.S1),
        ("BTCUSDT_trades_20240808.parquet", "trade", "BTC/USDT", None),
        ("trades/binance_spot_BTCUSDT_20240808-09.parquet", "trade", "BTC/USDT", None),
        ("ETHUSDT/trades.parquet", "trade", "ETH/USDT", None),
        ("orderbook/binance_spot_ETHUSDT_top20_500ms_20240808-09.parquet", "order_book", "ETH/USDT", None),
        ("BTC_USDT_order_book.parquet", "order_book", "BTC/USDT", None),
    ],
)
def test_names(path: str, kind: str, symbol: str, timeframe: Timeframe | None) -> None:
    named = named_by(path)
    assert (named.kind, named.symbol, named.timeframe) == (kind, symbol, timeframe)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("notes.parquet", "none of the patterns"),
        ("BTCUSDT_3m.parquet", "use one of"),
        ("WHATEVER_1m.parquet", "base and quote"),
        ("BTCUSDT.parquet", "none of the patterns"),
        ("BTCUSDT_1m.csv", "none of the patterns"),
    ],
)
def test_what_is_not_understood_says_why(path: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        named_by(path)


def test_the_table_is_the_users() -> None:
    table = [FilePattern("own", "candle", r"(?P<timeframe>\w+)/(?P<symbol>\w+)\.pq")]
    assert named_by("1h/BTCUSDT.pq", table).timeframe is Timeframe.H1
    with pytest.raises(InvalidInputError, match="none of the patterns"):
        named_by("BTCUSDT_1h.parquet", table)
