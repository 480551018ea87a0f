"""Order books and trades, from cache and database as one series each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.timeframe import Timeframe
from datalayer.provider.moments import MomentFinder
from datalayer.repositories import InstrumentRepository, OrderBookRepository, TradeRepository
from datalayer.repositories.last_books import read_imbalances_at, read_last_books

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.cache import DataCacheManager
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.order_book_frame import Aggregation
    from datalayer.provider.moments import Moment
    from datalayer.provider.reads import Reads
    from datalayer.provider.settings import ProviderSettings

_BUCKETS: Final = {"1s": Timeframe.S1, "1m": Timeframe.M1}


@dataclass(frozen=True, slots=True)
class BookQuery:
    """What is asked for; see `UnifiedDataProvider.get_order_book_data`.

    Attributes:
        symbol: canonical.
        timestamp: the moment, UTC; None: now.
        aggregation: see there.
        limit: number of books.
    """

    symbol: str
    timestamp: datetime | None
    aggregation: Aggregation
    limit: int


@dataclass(frozen=True, slots=True)
class TradeQuery:
    """What is asked for; see `UnifiedDataProvider.get_trades`. Times are in UTC.

    Attributes:
        symbol: canonical.
        start: first time; None: from the first.
        end: excluded; None: to the last.
        limit: only the last so many; None: all.
        as_of: what was visible then.
        is_live: whether `as_of` is now.
    """

    symbol: str
    start: datetime | None
    end: datetime | None
    limit: int | None
    as_of: datetime
    is_live: bool


class EventReader:
    """Answers queries.

    Args:
        cache: where the latest data are.
        settings: of the provider.
        reads: of the database.
    """

    def __init__(self, cache: DataCacheManager, settings: ProviderSettings, reads: Reads) -> None:
        self._cache = cache
        self._reads = reads
        self._moments = MomentFinder(cache, settings)

    def find_moment(self, query: BookQuery) -> Moment:
        """Return the moment of the answer.

        Raises:
            InvalidInputError: it is in the future.
        """
        return self._moments.find(
            query.symbol, query.timestamp, (), 0, include_forming=False, events=("order_book",)
        )

    async def read_books(self, query: BookQuery, at: Moment) -> list[OrderBookDataFrame]:
        """Return the last order books, ascending."""
        bucket = _BUCKETS.get(query.aggregation)
        end = at.as_of + _TICK if bucket is None else bucket.floor(at.as_of)
        books, imbalances = self._cached_books(query, at, end)
        if not at.is_live or len(_by_bucket(books, bucket)) < query.limit:
            async with self._reads.begin() as conn:
                books |= await _stored_books(conn, query, end, bucket)
                chosen = _last(_by_bucket(books, bucket), query.limit)
                lacking = sorted(book.ts for book in chosen.values() if book.ts not in imbalances)
                imbalances |= await read_imbalances_at(
                    conn, InstrumentRepository(conn), query.symbol, lacking
                )
        return [
            OrderBookDataFrame.from_book(
                replace(book, ts=start),
                imbalances=imbalances.get(book.ts, {}),
                aggregation=query.aggregation,
            )
            for start, book in _last(_by_bucket(books, bucket), query.limit).items()
        ]

    async def read_trades(self, query: TradeQuery) -> pd.DataFrame:
        """Return the trades of a range, ascending by time and id."""
        symbol = query.symbol
        cached = self._cache.get_recent_trades(symbol, as_of=query.as_of)
        cached = _within(cached, query.start, query.end)
        if query.is_live and query.limit is not None and len(cached) >= query.limit:
            return cached.iloc[len(cached) - query.limit :]
        async with self._reads.begin() as conn:
            stored = await TradeRepository(conn).query_trades(
                symbol, query.start, query.end, limit=query.limit, as_of=query.as_of
            )
        found = _joined(stored, cached) if len(cached) else stored
        return found if query.limit is None else found.iloc[max(len(found) - query.limit, 0) :]

    def _cached_books(
        self, query: BookQuery, at: Moment, end: datetime
    ) -> tuple[dict[datetime, OrderBook], dict[datetime, dict[str, float]]]:
        if at.snapshot is None:
            return {}, {}
        found = self._cache.get_recent_orderbooks(query.symbol, as_of=at.as_of)
        frame = self._cache.get_recent_imbalances(query.symbol, as_of=at.as_of)
        rows = zip(frame.index.to_pydatetime(), frame.to_numpy().tolist(), strict=True)  # type: ignore[attr-defined]
        imbalances = {ts.astimezone(UTC): dict(zip(frame.columns, row, strict=True)) for ts, row in rows}
        return {book.ts: book for book in found if book.ts < end}, imbalances


async def _stored_books(
    conn: AsyncConnection, query: BookQuery, end: datetime, bucket: Timeframe | None
) -> dict[datetime, OrderBook]:
    if bucket is None:
        books = await OrderBookRepository(conn).query_orderbook_snapshots(
            query.symbol, end=end, limit=query.limit, as_of=end
        )
    else:
        instruments = InstrumentRepository(conn)
        books = await read_last_books(conn, instruments, query.symbol, bucket, end=end, limit=query.limit)
    found = [books.book(row, query.symbol) for row in range(len(books))]
    return {book.ts: book for book in found}


def _by_bucket(books: Mapping[datetime, OrderBook], bucket: Timeframe | None) -> dict[datetime, OrderBook]:
    """Return the last book of each bucket by its start, or all by their times; ascending."""
    ascending = sorted(books.items())
    return {ts if bucket is None else bucket.floor(ts): book for ts, book in ascending}


def _last(books: dict[datetime, OrderBook], limit: int) -> dict[datetime, OrderBook]:
    return dict(list(books.items())[max(len(books) - limit, 0) :])


def _within(trades: pd.DataFrame, start: datetime | None, end: datetime | None) -> pd.DataFrame:
    first = 0 if start is None else trades.index.searchsorted(pd.Timestamp(start))
    last = len(trades) if end is None else trades.index.searchsorted(pd.Timestamp(end))
    return trades.iloc[first:last]


def _joined(stored: pd.DataFrame, cached: pd.DataFrame) -> pd.DataFrame:
    """Return the trades of both, each once, ascending by time and id."""
    both = pd.concat([stored, cached])
    times, ids = both.index.to_numpy(), both["trade_id"].to_numpy()
    order = np.lexsort((ids, times))
    again = np.zeros(len(order), bool)
    again[1:] = (times[order][1:] == times[order][:-1]) & (ids[order][1:] == ids[order][:-1])
    return both.iloc[order[~again]]


_TICK: Final = timedelta(microseconds=1)
