"""The clock of a backtest, and the series that follow it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.moments import utc_moment
from datalayer.domain.sliding_windows import OHLCV, GapPolicy, SlidingWindows
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.integrations.backtesting.clocked_market import ClockedMarket
from datalayer.integrations.backtesting.feed import SeriesFeed
from datalayer.integrations.backtesting.series import CandleSeries, Position
from datalayer.repositories import MarketHistory
from datalayer.repositories.moments import visible_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from datalayer.provider import UnifiedDataProvider

_FIRST: Final = datetime.min.replace(tzinfo=UTC)


class MarketClock:
    """The clock of a backtest, and the series that it moves; see `BacktestSource`."""

    def __init__(
        self,
        market: UnifiedDataProvider,
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
        moment = datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")
        _, last = visible_range(start, end, moment)
        self._position = Position([utc_moment(start, "start")])
        self._shown_until = np.datetime64(self.now.replace(tzinfo=None), "us") - np.timedelta64(1, "us")
        self.market = ClockedMarket(market, lambda: self.now)
        history = MarketHistory(market.database)
        bounds: dict[str, Any] = {"as_of": moment, "batch_rows": batch_rows}
        self._feeds: list[SeriesFeed] = []
        names = _names(symbols)
        for shape in _shapes(windows, columns, on_gap):
            timeframe, length = shape.timeframe, shape.length
            bounds["start"] = _before(self.now, length * timeframe.length)
            bounds["end"] = _before(last, timeframe.length)
            for name in names:
                series = CandleSeries(name, timeframe, length, shape.columns, self._position)
                stream = history.stream_ohlcv(name, timeframe, **bounds)
                self._feeds.append(SeriesFeed(series, stream, on_gap))

    @property
    def now(self) -> datetime:
        """The moment that the clock shows, in UTC; before the first step `start`, with nothing visible."""
        return self._position.now

    def series(self, symbol: str, timeframe: Timeframe | str) -> CandleSeries:
        """Return the candles of a symbol and timeframe, which follow the clock; take it once, before the loop.

        Raises:
            InvalidInputError: the source has no such series.
        """
        wanted = canonical_symbol(symbol), Timeframe.parse(timeframe)
        for feed in self._feeds:
            if (feed.series.symbol, feed.series.timeframe) == wanted:
                return feed.series
        known = ", ".join(f"{feed.series.symbol} {feed.series.timeframe.label}" for feed in self._feeds)
        raise InvalidInputError("series", f"{wanted[0]} {wanted[1].label}", f"the source has {known}")

    def _rest(self) -> Iterator[datetime]:
        """Move the clock through the moments that are known by now."""
        position, moments = self._position, self._position.moments
        for row in range(position.row + 1, len(moments)):
            position.row = row
            yield moments[row]

    async def _aclose(self) -> None:
        await asyncio.gather(*(feed.stream.aclose() for feed in self._feeds))

    async def _next_span(self) -> bool:
        """Read on, and set the clock to the next moment; False: there is none."""
        while True:
            for feed in self._wanting():
                feed.stream.read_ahead()
            for feed in self._wanting():
                await feed.extend()
            moments = self._next_moments()
            if len(moments):
                self._show(moments)
                return True
            if all(feed.is_at_end for feed in self._feeds):
                return False

    def _wanting(self) -> list[SeriesFeed]:
        """Return those of which everything that is held has been shown, though there may be more."""
        return [feed for feed in self._feeds if feed.known_until <= self._shown_until]

    def _next_moments(self) -> NDArray[np.datetime64]:
        """Return the moments of which everything is known: up to the last close of the series that is known least far."""
        closes = np.sort(np.concatenate([feed.closes for feed in self._feeds]), kind="stable")
        is_new = np.append(np.ones(len(closes[:1]), np.bool_), closes[1:] != closes[:-1])
        until = min(feed.known_until for feed in self._feeds)
        return closes[is_new & (closes > self._shown_until) & (closes <= until)]

    def _show(self, moments: NDArray[np.datetime64]) -> None:
        """Set the clock and all series at once, so that no look from another task falls in between."""
        for feed in self._feeds:
            feed.show(moments)
        self._shown_until = moments[-1]
        # Sums of aware times: a quarter of what any conversion of an array costs.
        first = moments[0].item().replace(tzinfo=UTC)
        self._position.moments = list(accumulate(np.diff(moments).tolist(), initial=first))
        self._position.row = 0


def _names(symbols: Iterable[str]) -> list[str]:
    names = sorted({canonical_symbol(symbol) for symbol in symbols})
    if not names:
        raise InvalidInputError("symbols", names, "give at least one")
    return names


def _shapes(
    windows: Mapping[Timeframe | str, int], columns: Sequence[str], on_gap: GapPolicy
) -> list[SlidingWindows]:
    """Return what the windows are: made only to be checked, so that the same arguments are refused in the same words."""
    shapes = [
        SlidingWindows(timeframe, length, columns=columns, on_gap=on_gap)
        for timeframe, length in windows.items()
    ]
    if not shapes or len({shape.timeframe for shape in shapes}) < len(shapes):
        raise InvalidInputError(
            "windows", dict(windows), "give the length of a window by timeframe, each timeframe once"
        )
    return shapes


def _before(moment: datetime, span: timedelta) -> datetime:
    """Return a moment so much earlier; the calendar begins in the year 1."""
    return moment - min(span, moment - _FIRST)
