"""Subscriptions to what comes into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from datalayer.domain.moments import utc_moment
from datalayer.domain.order_book import OrderBook
from datalayer.domain.trade import Trade
from datalayer.errors import InvalidInputError
from datalayer.provider.arguments import checked_count
from datalayer.provider.candle_answers import CandleQuery
from datalayer.provider.candle_rows import candle_list
from datalayer.provider.subscription import Subscription
from datalayer.provider.update_queue import UpdateQueue
from datalayer.provider.update_sources import CandleSource, EventSource
from datalayer.provider.updates import WhenSlow

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from datalayer.cache import DataCacheManager
    from datalayer.domain.candle import Candle
    from datalayer.domain.timeframe import Timeframe
    from datalayer.provider.candle_answers import CandleReader
    from datalayer.provider.symbol_catalog import SymbolCatalog

EVENTS: Final[dict[str, type[OrderBook | Trade]]] = {"book": OrderBook, "trades": Trade}
_PAGE: Final = 10_000


def subscription_to(
    symbol: str,
    stream: Timeframe | str,
    *,
    since: datetime | None,
    max_lag: int,
    when_slow: WhenSlow,
    include_forming: bool,
    catalog: SymbolCatalog,
    cache: DataCacheManager,
    candles: CandleReader,
    on_close: Callable[[Subscription], None],
) -> Subscription:
    """Return a subscription; see `UnifiedDataProvider.subscribe`.

    Raises:
        InvalidInputError: see there.
    """
    checked_count("max_lag", max_lag)
    if when_slow not in get_args(WhenSlow):
        raise InvalidInputError("when_slow", when_slow, f"use {' or '.join(get_args(WhenSlow))}")
    queue: UpdateQueue[Any]
    if isinstance(stream, str) and stream in EVENTS:
        if since is not None or include_forming:
            field, value = ("since", since) if since is not None else ("include_forming", include_forming)
            raise InvalidInputError(field, value, f"is for candles only, and this is {stream!r}")
        queue = UpdateQueue(symbol, stream, max_lag, when_slow)
        return Subscription(EventSource(queue, symbol, EVENTS[stream]), cache, on_close)
    timeframe = _timeframe(catalog, stream)
    queue = UpdateQueue(symbol, timeframe.label, max_lag, when_slow)
    source = CandleSource(
        cache,
        queue,
        symbol,
        timeframe,
        include_forming=include_forming,
        since=None if since is None else timeframe.ceil(utc_moment(since, "since")),
        read_page=_pages(candles, symbol, timeframe),
    )
    return Subscription(source, cache, on_close)


def _timeframe(catalog: SymbolCatalog, stream: Timeframe | str) -> Timeframe:
    try:
        return catalog.timeframe(stream)
    except InvalidInputError as exc:
        known = ", ".join([*(timeframe.label for timeframe in catalog.timeframes), *EVENTS])
        raise InvalidInputError("stream", stream, f"use one of {known}") from exc


def _pages(candles: CandleReader, symbol: str, timeframe: Timeframe) -> Any:
    async def read_page(start: datetime) -> tuple[list[Candle], datetime, bool]:
        """Return candles from an open time on, up to when they are all that there are, and whether that is now."""
        end = start + _PAGE * timeframe.length
        query = CandleQuery(symbol, (timeframe,), start, end, None, None, align=False, include_forming=False)
        at = candles.find_moment(query)
        rows = (await candles.read_rows(query, at))[timeframe]
        now = timeframe.floor(at.as_of)
        found = candle_list(symbol, timeframe, rows)
        return found, min(end, max(now, start)), end >= now

    return read_page
