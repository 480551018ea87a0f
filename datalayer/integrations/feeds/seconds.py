"""1s candles from live trades: a second is handed out once it is over and complete, and what comes late corrects it.

A second that touches a hole in the trades is withheld until the hole is filled, and then made anew from the stored trades; so
is one that got a late trade. What was never complete is never handed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.domain.candle import Candle
from datalayer.domain.moments import EPOCH
from datalayer.domain.steps import infer_scale, to_steps
from datalayer.domain.timeframe import Timeframe
from datalayer.integrations.tick_aggregation import TradeColumns, aggregate_trades

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from datalayer.domain.trade import Trade
    from datalayer.integrations.feeds.settings import SilentSeconds

SECOND: Final = timedelta(seconds=1)


@dataclass(slots=True, eq=False)
class Block:
    """Seconds that are made from stored trades.

    Attributes:
        first: the first second, counted since 1970.
        last: the last one, included.
        is_complete: all of their trades are stored, or on their way.
    """

    first: int
    last: int
    is_complete: bool = False


class SecondBuilder:
    """Makes 1s candles of the trades of one symbol, which come in the order of their ids but for some.

    Args:
        symbol: canonical.
        silent: see `SilentSeconds`.
    """

    def __init__(self, symbol: str, silent: SilentSeconds) -> None:
        self._symbol, self._silent = symbol, silent
        self._pending: dict[int, list[Trade]] = {}
        self._blocks: list[Block] = []
        self._from = self._over = 0
        self._price: float | None = None

    def block(self, start: datetime, end: datetime, *, is_complete: bool = False) -> Block:
        """Withhold the seconds from one time to another, both included."""
        block = Block(second_of(start), second_of(end), is_complete)
        self._blocks.append(block)
        return block

    def take(self, trade: Trade, *, is_next: bool) -> list[Candle]:
        """Take a trade in.

        Args:
            trade: not seen before.
            is_next: it comes after all others, so that the seconds before its own are over.

        Returns:
            Candles that are complete now.
        """
        second = second_of(trade.ts)
        if not self._over:  # its beginning was not seen
            self._from = self._over = second + 1
        candles = self.advance(second) if is_next else []
        if is_next:
            self._price = float(trade.price)
        if second >= self._over:
            self._pending.setdefault(second, []).append(trade)
        elif second >= self._from:
            self.block(trade.ts, trade.ts, is_complete=True)
        return candles

    def advance(self, second: int) -> list[Candle]:
        """Return the candles of the seconds before a second, which are over."""
        if not self._over or second <= self._over:
            return []
        over, self._over = self._over, second
        if self._silent == "absent":
            due = sorted(known for known in self._pending if known < second)
            return [candle for known in due for candle in self._candles(known)]
        return [candle for known in range(over, second) for candle in self._candles(known)]

    def due_blocks(self) -> list[Block]:
        """Return the blocks that are over and complete; they are no longer withheld."""
        due = [block for block in self._blocks if block.is_complete and block.last < self._over]
        self._blocks = [block for block in self._blocks if block not in due]
        return due

    def is_withheld(self, second: int) -> bool:
        """Tell whether a second cannot be complete, or has yet to be made from stored trades."""
        return any(block.first <= second <= block.last for block in self._blocks)

    def _candles(self, second: int) -> Iterator[Candle]:
        trades = self._pending.pop(second, None)
        if self.is_withheld(second):
            return
        if trades:
            yield from seconds_of_trades(
                self._symbol,
                np.array([trade.ts.replace(tzinfo=None) for trade in trades], "datetime64[us]"),
                np.array([trade.trade_id for trade in trades], np.int64),
                np.array([trade.price for trade in trades], np.float64),
                np.array([trade.size for trade in trades], np.float64),
            )
        elif self._price is not None:
            yield silent_candle(self._symbol, second, self._price)


def second_of(time: datetime) -> int:
    """Return the second of a time (aware), counted since 1970."""
    return (time - EPOCH) // SECOND


def seconds_of_trades(
    symbol: str,
    times: NDArray[np.datetime64],
    ids: NDArray[np.int64],
    prices: NDArray[np.float64],
    sizes: NDArray[np.float64],
) -> Iterator[Candle]:
    """Yield the 1s candles of trades, ascending; each value is the double nearest to the exact decimal.

    Args:
        symbol: canonical.
        times: datetime64[us], UTC.
        ids: of the trades, which order those of one time.
        prices: in the quote asset.
        sizes: in the base asset.
    """
    scales = infer_scale(prices), infer_scale(sizes)
    steps = to_steps(prices, scales[0], field="price"), to_steps(sizes, scales[1], field="size")
    made = aggregate_trades(TradeColumns(times, ids, *steps, np.zeros(len(ids), np.int8)))
    for row in range(len(made)):
        columns = made.open, made.high, made.low, made.close
        opened, high, low, close = (float(column[row] / 10 ** scales[0]) for column in columns)
        ts = made.timestamps[row].item().replace(tzinfo=UTC)
        volume, count = float(made.volume[row] / 10 ** scales[1]), int(made.trade_count[row])
        yield Candle(symbol, Timeframe.S1, ts, opened, high, low, close, volume, count)


def with_silent(candles: Iterable[Candle]) -> Iterator[Candle]:
    """Yield candles, ascending, and those of the silent seconds between them."""
    before: Candle | None = None
    for candle in candles:
        if before is not None:
            for second in range(second_of(before.ts) + 1, second_of(candle.ts)):
                yield silent_candle(candle.symbol, second, float(before.close))
        before = candle
        yield candle


def silent_candle(symbol: str, second: int, price: float) -> Candle:
    """Return the candle of a second without trades."""
    ts = EPOCH + second * SECOND
    return Candle(symbol, Timeframe.S1, ts, price, price, price, price, 0.0, trade_count=0)
