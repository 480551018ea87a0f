"""Making one candle or book, as the value types of this library, and as the alternatives.

    python -m benchmarks.value_types [--rows N] [--runs K] [--quick]

Expected: a frozen dataclass costs twice a plain one, since each attribute is set through object.__setattr__, and a tenth of
a pydantic model. The first is so; pydantic 2 takes only a quarter more, and checks the types for it. A book copies its four
arrays so that nobody can change them, and is checked level by level only where it becomes columns.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmarks.harness import Comparison, Stopwatch, arguments
from datalayer.domain.candle import Candle
from datalayer.domain.order_book import OrderBook, OrderBookColumns
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TS = datetime(2024, 8, 8, 10, tzinfo=UTC)


@dataclass
class Plain:
    symbol: str
    timeframe: Timeframe
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None = None
    is_forming: bool = False


@dataclass(slots=True)
class Slots:
    symbol: str
    timeframe: Timeframe
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None = None
    is_forming: bool = False


class Tuple(NamedTuple):
    symbol: str
    timeframe: Timeframe
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None = None
    is_forming: bool = False


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)
    symbol: str
    timeframe: Timeframe
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None = None
    is_forming: bool = False


def timed(make: Callable[..., Any], count: int) -> Callable[[], Any]:
    async def way() -> float:
        with Stopwatch() as watch:
            for _ in range(count):
                make(
                    symbol="BTC/USDT",
                    timeframe=Timeframe.M1,
                    ts=TS,
                    open=1.0,
                    high=2.0,
                    low=0.5,
                    close=1.5,
                    volume=3.0,
                )
        return watch.seconds

    return way


class BookTuple(NamedTuple):
    symbol: str
    ts: datetime
    bid_prices: NDArray[np.float64]
    bid_sizes: NDArray[np.float64]
    ask_prices: NDArray[np.float64]
    ask_sizes: NDArray[np.float64]


def books(make: Callable[..., Any], count: int) -> Callable[[], Any]:
    steps = np.arange(1.0, 21.0)
    sides = (100.0 - steps, steps, 100.0 + steps, steps)

    async def way() -> float:
        with Stopwatch() as watch:
            for _ in range(count):
                make("BTC/USDT", TS, *sides)
        return watch.seconds

    return way


def checked(*parts: Any) -> OrderBookColumns:
    return OrderBook(*parts).columns()


async def main() -> None:
    chosen = arguments("making value types")
    ways = {
        "pydantic, frozen": timed(Model, chosen.rows),
        "dataclass, mutable": timed(Plain, chosen.rows),
        "dataclass with slots, mutable": timed(Slots, chosen.rows),
        "NamedTuple": timed(Tuple, chosen.rows),
        "ours": timed(Candle, chosen.rows),
    }
    comparison = Comparison(f"{chosen.rows:,} candles", chosen.rows, "ours", ways)
    await comparison.run(chosen.runs)
    print(comparison.table())
    count = max(chosen.rows // 10, 1)
    ways = {
        "ours": books(OrderBook, count),
        "ours, checked as columns": books(checked, count),
        "NamedTuple of the caller's arrays": books(BookTuple, count),
    }
    comparison = Comparison(f"{count:,} books of 20 levels a side", count, "ours", ways)
    await comparison.run(chosen.runs)
    print(comparison.table())


if __name__ == "__main__":
    asyncio.run(main())
