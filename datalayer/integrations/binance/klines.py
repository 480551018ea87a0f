"""Candles as the kline stream of Binance spot sends them.

Format: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#klinecandlestick-streams-for-utc
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from datalayer.domain.moments import from_microseconds
from datalayer.integrations.fields import (
    E8_DIGITS,
    fault,
    read,
    read_boolean,
    read_e8,
    read_integer,
    read_text,
    read_time_us,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Kline:
    """One state of a candle.

    Attributes:
        symbol: as Binance writes it, `BTCUSDT`.
        event_time_us: when the message was made.
        open_time_us: names the candle; it covers `[open time, open time + interval)`.
        interval: as Binance writes it; `1m` is a minute and `1M` a month.
        open_e8: counts of 1e-8, as are high, low, close and volume (of the base asset).
        trade_count: 0 in a silent candle, whose prices are all the last one before.
        is_closed: False while the candle is forming; more messages with the same open time follow then.
    """

    symbol: str
    event_time_us: int
    open_time_us: int
    interval: str
    open_e8: int
    high_e8: int
    low_e8: int
    close_e8: int
    volume_e8: int
    trade_count: int
    is_closed: bool

    def record(self) -> dict[str, Any]:
        """Return the candle as `DataValidator.validate_candle` takes it: an aware time, exact `Decimal` values."""
        values = {name: getattr(self, f"{name}_e8") for name in ("open", "high", "low", "close", "volume")}
        exact = {name: Decimal(count).scaleb(-E8_DIGITS) for name, count in values.items()}
        ts = from_microseconds(self.open_time_us)
        labels = {"symbol": self.symbol, "timeframe": self.interval, "ts": ts}
        return labels | exact | {"trade_count": self.trade_count}


def read_kline(body: Mapping[str, Any]) -> Kline:
    """Read a message of the kline stream.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    candle = read(body, "k", "kline")
    if not isinstance(candle, dict):
        raise fault("kline", candle, "must be an object")
    return Kline(
        symbol=read_text(body, "s", "symbol"),
        event_time_us=read_time_us(body, "E", "event_time_us"),
        open_time_us=read_time_us(candle, "t", "open_time_us"),
        interval=read_text(candle, "i", "interval"),
        open_e8=read_e8(candle, "o", "open", positive=True),
        high_e8=read_e8(candle, "h", "high", positive=True),
        low_e8=read_e8(candle, "l", "low", positive=True),
        close_e8=read_e8(candle, "c", "close", positive=True),
        volume_e8=read_e8(candle, "v", "volume", positive=False),
        trade_count=read_integer(candle, "n", "trade_count"),
        is_closed=read_boolean(candle, "x", "is_closed"),
    )
