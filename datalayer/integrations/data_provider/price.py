"""A price that knows how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from datalayer.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from datalayer.integrations.data_provider.access import DataLayerAccess


class CurrentPrice(float):
    """The last known price, in the quote asset: a float, with what a caller should know of it.

    Attributes:
        at: it was the price then or later, UTC: time of the trade; of a candle its open, since when
            its last trade was is not told.
        age_s: seconds from `at` to the moment of the call; the price is at most so old.
        source: `trade`, or the candle it is the close of, as in `candles.1m`.
    """

    __slots__ = ("age_s", "at", "source")

    def __new__(cls, value: float, at: datetime, age_s: float, source: str) -> Self:
        """Make one."""
        made = super().__new__(cls, value)
        made.at, made.age_s, made.source = at, age_s, source
        return made

    at: datetime
    age_s: float
    source: str

    def __getnewargs__(self) -> tuple[float, datetime, float, str]:  # type: ignore[override]
        return float(self), self.at, self.age_s, self.source


def find_price(layer: DataLayerAccess, symbol: str) -> CurrentPrice | None:
    """Return the price of the last trade or the close of the last candle, whichever is newer; None: nothing is known."""
    now = layer.market.cache.now
    found = [*_last_trade(layer, symbol), *_last_closes(layer, symbol, now)]
    known = [
        CurrentPrice(value, at, max((now - at).total_seconds(), 0.0), source) for value, at, source in found
    ]
    return max(known, key=lambda price: price.at, default=None)


def _last_trade(layer: DataLayerAccess, symbol: str) -> Iterator[tuple[float, datetime, str]]:
    try:
        last = layer.market.get_trades(symbol, limit=1)
    except NoDataError:
        return
    yield float(last["price"].iloc[0]), last.index[0].to_pydatetime(), "trade"


def _last_closes(layer: DataLayerAccess, symbol: str, now: datetime) -> Iterator[tuple[float, datetime, str]]:
    """Give the close of the last candle of the shortest timeframe, and of longer ones as far as shorter ones are late."""
    settle_s = layer.market.asynchronous.settings.settle_s
    for timeframe in layer.market.timeframes:
        table = layer.from_market(symbol, [timeframe], 1, include_forming=True).get(timeframe.label)
        if table is not None and len(table):
            opened = table.index[0].to_pydatetime()
            yield float(table["close"].iloc[0]), opened, f"candles.{timeframe.label}"
            if (now - opened).total_seconds() <= 2 * timeframe.value + settle_s:
                return
