"""History as a strategy may see it: what is closed at a clock that goes forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from datalayer.domain.sliding_windows import OHLCV, GapPolicy
from datalayer.integrations.backtesting.clock import MarketClock
from datalayer.integrations.backtesting.clocked_market import ClockedMarket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from datalayer import sync
    from datalayer.domain.timeframe import Timeframe


class BacktestSource(MarketClock):
    """History for a strategy that is plain blocking Python: a clock, and windows of what is closed at it.

        with BacktestSource(market, ["BTC/USDT"], {"1m": 60, "1h": 24}, start=start, end=end) as source:
            minutes, hours = source.series("BTC/USDT", "1m"), source.series("BTC/USDT", "1h")
            for now in source:
                window = minutes.window()

    The clock stops at each moment at which a candle closes, of any symbol and timeframe, ascending, and goes forward only.
    Windows show what is closed then: an hour from its end on. At the first moment they already hold what was closed
    before. Asking for anything later raises `LookAheadError`, also through `market`.

    Candles are read in batches, ahead, in the event loop of the provider; each series holds its window and two batches.
    An error in reading reaches the loop in place of the next moment; a new `for` goes on there, as it does after a `break`.
    It belongs to one thread.

    Args:
        market: an open provider of `datalayer.sync`.
        symbols: registered instruments, in any known spelling.
        windows: by timeframe, the most candles of a window.
        start: first moment, aware, included.
        end: aware, excluded. None: to the last candle that is closed at `as_of`.
        as_of: what was closed at this time, aware. None: now, once.
        columns: of the windows, some of open, high, low, close, volume, trade_count.
        on_gap: where candles are missing: "restart": a window begins anew behind the gap; "mark": it reaches over it, as
            `opened()` shows; "refuse": `MissingDataError` in place of the first moment behind it.
        batch_rows: most candles of a batch.

    Raises:
        InvalidInputError: a time is naive, `end` is before `start`, a number is not positive, or there is no symbol,
            timeframe, column or policy. An unknown symbol is refused with the first moment.
    """

    def __init__(
        self,
        market: sync.UnifiedDataProvider,
        symbols: Iterable[str],
        windows: Mapping[Timeframe | str, int],
        *,
        start: datetime,
        end: datetime | None = None,
        as_of: datetime | None = None,
        columns: Sequence[str] = OHLCV,
        on_gap: GapPolicy = "restart",
        batch_rows: int = 50_000,
    ) -> None:
        super().__init__(
            market.asynchronous,
            symbols,
            windows,
            start=start,
            end=end,
            as_of=as_of,
            columns=columns,
            on_gap=on_gap,
            batch_rows=batch_rows,
        )
        self._run = market.run
        self.market = ClockedMarket(market, lambda: self.now)

    def __iter__(self) -> Iterator[datetime]:
        """Move the clock to the next moment, and give it, until the end.

        Raises:
            MissingDataError: candles are missing, and the policy is "refuse".
            DatabaseError: a batch could not be read, after all tries.
        """
        yield from self._rest()
        while self._run(self._next_span()):
            yield self.now
            yield from self._rest()

    def close(self) -> None:
        """Stop reading, and give the connections back. May be repeated."""
        self._run(self._aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncBacktestSource(MarketClock):
    """`BacktestSource` for coroutines: on a `datalayer.UnifiedDataProvider`, with `async with` and `async for`.

    It belongs to one task. A loop that only computes lets it read ahead by `await asyncio.sleep(0)`.
    """

    async def __aiter__(self) -> AsyncIterator[datetime]:
        """As `BacktestSource.__iter__`."""
        for moment in self._rest():
            yield moment
        while await self._next_span():
            yield self.now
            for moment in self._rest():
                yield moment

    async def aclose(self) -> None:
        """Stop reading, and give the connections back. May be repeated."""
        await self._aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
