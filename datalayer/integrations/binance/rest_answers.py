"""Answers of the REST interface of Binance spot, from JSON to values.

Format: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from datalayer.domain.candle import Candle
from datalayer.domain.moments import from_microseconds
from datalayer.domain.trade import Side, Trade
from datalayer.integrations.fields import (
    E8,
    fault,
    parse_json,
    read_boolean,
    read_e8,
    read_integer,
    read_time_us,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datalayer.domain.timeframe import Timeframe

TRADE_KEYS: Final = {"id": "id", "time": "time", "price": "price", "size": "qty", "maker": "isBuyerMaker"}
AGGREGATE_KEYS: Final = {"id": "a", "time": "T", "price": "p", "size": "q", "maker": "m"}

_KLINE_COLUMNS: Final = 9


def read_trades(body: bytes, symbol: str, keys: Mapping[str, str]) -> list[Trade]:
    """Return the answer to a request for trades.

    Args:
        body: JSON.
        symbol: canonical.
        keys: `TRADE_KEYS` or `AGGREGATE_KEYS`.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    return [_trade(row, symbol, keys) for row in _rows(body)]


def read_candles(body: bytes, symbol: str, timeframe: Timeframe) -> list[Candle]:
    """Return the answer to a request for candles.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    return [_candle(row, symbol, timeframe) for row in _rows(body)]


def _trade(row: Any, symbol: str, keys: Mapping[str, str]) -> Trade:
    if not isinstance(row, dict):
        raise fault("trade", row, "must be an object")
    return Trade(
        symbol,
        from_microseconds(read_time_us(row, keys["time"], "time")),
        read_integer(row, keys["id"], "trade_id"),
        read_e8(row, keys["price"], "price", positive=True) / E8,
        read_e8(row, keys["size"], "size", positive=True) / E8,
        Side.SELL if read_boolean(row, keys["maker"], "buyer_is_maker") else Side.BUY,
    )


def _candle(row: Any, symbol: str, timeframe: Timeframe) -> Candle:
    if not isinstance(row, list) or len(row) < _KLINE_COLUMNS:
        raise fault("kline", row, f"must be a list of at least {_KLINE_COLUMNS} values")
    named = dict(zip(("ts", "open", "high", "low", "close", "volume"), row, strict=False)) | {"count": row[8]}
    opened, high, low, close = (
        read_e8(named, name, name, positive=True) / E8 for name in ("open", "high", "low", "close")
    )
    ts = from_microseconds(read_time_us(named, "ts", "open_time"))
    volume = read_e8(named, "volume", "volume", positive=False) / E8
    count = read_integer(named, "count", "trade_count")
    return Candle(symbol, timeframe, ts, opened, high, low, close, volume, count)


def _rows(body: bytes) -> list[Any]:
    rows = parse_json(body, "answer")
    if not isinstance(rows, list):
        raise fault("answer", rows, "must be a list")
    return rows
