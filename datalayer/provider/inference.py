"""Everything that is known of a symbol at one moment, put together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from datalayer.cache.times import SECOND_US, ceil_us, microseconds
from datalayer.domain.candle_table import ArrayTables
from datalayer.domain.frame_quality import QualityFlags
from datalayer.domain.inference_frame import InferenceDataFrame
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.timeframe import Timeframe
from datalayer.provider.candle_parts import CandleParts
from datalayer.provider.freshness import stale_parts
from datalayer.provider.moments import MomentFinder
from datalayer.provider.reads import SymbolSnapshot
from datalayer.provider.seam import read_plans, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.cache import DataCacheManager
    from datalayer.domain.candle_table import CandleTable
    from datalayer.domain.imbalances import OrderBookImbalances
    from datalayer.domain.indicators.spec import Recipe
    from datalayer.domain.order_book import OrderBook
    from datalayer.provider.candle_parts import CandlePart
    from datalayer.provider.candle_rows import CandleRows
    from datalayer.provider.moments import Moment
    from datalayer.provider.seam import CandlePlan
    from datalayer.provider.settings import ProviderSettings

_S1: Final = Timeframe.S1


@dataclass(frozen=True, slots=True)
class InferenceQuery:
    """What is asked for; see `UnifiedDataProvider.get_inference_data`.

    Attributes:
        symbol: canonical.
        timestamp: the moment, UTC; None: now.
        context: length of the window before and after it.
        timeframes: of the candles.
        candles: number of candles of each.
        recipes: of the indicators.
        include_forming: whether candles that form are given.
        include_order_book: whether the order book and imbalances are.
    """

    symbol: str
    timestamp: datetime | None
    context: timedelta
    timeframes: tuple[Timeframe, ...]
    candles: int
    recipes: tuple[Recipe, ...]
    include_forming: bool
    include_order_book: bool


@dataclass(slots=True)
class Found:
    """What was found for a query.

    Attributes:
        candles: all that indicators are computed over, by timeframe.
        places: where they are from.
        order_book: the last one.
        imbalances: the last ones.
        events_place: where these two are from.
        before: candles of the context that were known, of timeframes in which `candles` do not reach back that far.
        after: candles of the context that were not known.
    """

    candles: Mapping[Timeframe, CandleRows]
    places: Mapping[Timeframe, str]
    order_book: OrderBook | None = None
    imbalances: OrderBookImbalances | None = None
    events_place: str = "cache"
    before: Mapping[Timeframe, CandleRows] = field(default_factory=dict)
    after: Mapping[Timeframe, CandleRows] = field(default_factory=dict)


class InferenceReader:
    """Answers queries.

    Args:
        cache: where the latest data are.
        settings: of the provider.
    """

    def __init__(self, cache: DataCacheManager, settings: ProviderSettings) -> None:
        self._cache = cache
        self._settings = settings
        self._moments = MomentFinder(cache, settings)
        self._kept = CandleParts()
        self._window_us = round(settings.window_s * SECOND_US)
        self._window = timedelta(seconds=settings.window_s)

    def find_moment(self, query: InferenceQuery) -> Moment:
        """Return the moment of the answer.

        Raises:
            InvalidInputError: it is in the future.
        """
        return self._moments.find(
            query.symbol,
            query.timestamp,
            query.timeframes,
            self._rows(query),
            include_forming=query.include_forming,
            events=("order_book", "imbalances") if query.include_order_book else (),
        )

    def find_in_cache(self, query: InferenceQuery, moment: Moment) -> InferenceDataFrame | None:
        """Return the answer, or None if the database has to be asked."""
        if not moment.is_live or not self._has_events(query, moment):
            return None
        plans = self._plans(query, moment)
        if not all(plan.is_complete for plan in plans):
            return None
        candles = {plan.request.timeframe: plan.cached for plan in plans}
        before = self._uncovered(query, moment, candles)
        if not all(plan.is_complete for plan in before):
            return None
        found = Found(candles, {plan.request.timeframe: plan.place for plan in plans})
        found.before = {plan.request.timeframe: plan.cached for plan in before}
        if moment.snapshot is not None:
            found.order_book, found.imbalances = moment.snapshot.order_book, moment.snapshot.imbalances
        return self._assembled(query, moment, found)

    async def read(self, conn: AsyncConnection, query: InferenceQuery, moment: Moment) -> InferenceDataFrame:
        """Return the answer from cache and database.

        Args:
            conn: connection inside the caller's transaction.
            query: what is asked for.
            moment: of the answer.
        """
        plans, snapshot = self._plans(query, moment), SymbolSnapshot(conn, query.symbol)
        candles = await read_plans(snapshot, plans)
        found = Found(candles, {plan.request.timeframe: plan.place for plan in plans})
        before = self._uncovered(query, moment, candles)
        if before:
            found.before = await read_plans(snapshot, before)
        if query.context and not moment.is_live:
            found.after = await self._after(snapshot, query, moment)
        if query.include_order_book:
            await self._add_events(snapshot, query, moment, found)
        return self._assembled(query, moment, found)

    def _rows(self, query: InferenceQuery) -> int:
        return max(self._settings.depth, query.candles) if query.recipes else query.candles

    def _has_events(self, query: InferenceQuery, moment: Moment) -> bool:
        """Tell whether the database has nothing to say of order books: one is there, or this process has the feed."""
        snapshot = moment.snapshot
        if not query.include_order_book:
            return True
        return snapshot is not None and (snapshot.order_book is not None or bool(moment.fed))

    def _plans(self, query: InferenceQuery, moment: Moment) -> list[CandlePlan]:
        requests = [
            request_of(
                timeframe,
                moment.as_of,
                start=moment.as_of - self._window if timeframe is _S1 else None,
                limit=self._rows(query),
                with_forming=query.include_forming,
            )
            for timeframe in query.timeframes
        ]
        return [moment.plan(request, self._window_us) for request in requests]

    def _uncovered(
        self, query: InferenceQuery, moment: Moment, candles: Mapping[Timeframe, CandleRows]
    ) -> list[CandlePlan]:
        """Return what to look for of the context before the moment, where the candles do not reach back to its beginning."""
        if not query.context:
            return []
        start = moment.as_of - query.context
        plans = []
        for timeframe, rows in candles.items():
            first = ceil_us(microseconds(start, "start"), int(timeframe) * SECOND_US)
            # With fewer than were asked for there are no more, of 1s in the window.
            reaches = timeframe is not _S1 or query.context <= self._window
            is_all = len(rows) < self._rows(query) and reaches
            begins = len(rows) > 0 and int(rows.micros[0]) <= first
            if not is_all and not begins and timeframe.ceil(start) < moment.as_of:
                plans.append(moment.plan(request_of(timeframe, moment.as_of, start=start), self._window_us))
        return plans

    async def _after(
        self, snapshot: SymbolSnapshot, query: InferenceQuery, moment: Moment
    ) -> Mapping[Timeframe, CandleRows]:
        """Return the candles inside of the context that were not known at the moment, and are now."""
        start, end = moment.as_of - query.context, moment.as_of + query.context
        later = self._moments.find(
            query.symbol,
            min(end, self._cache.now),
            query.timeframes,
            self._settings.depth,
            include_forming=False,
        )
        plans = []
        for timeframe in query.timeframes:
            first = max(timeframe.ceil(start), timeframe.floor(moment.as_of))
            if first + timeframe.length <= later.as_of:
                plans.append(later.plan(request_of(timeframe, later.as_of, start=first), self._window_us))
        return await read_plans(snapshot, plans)

    async def _add_events(
        self, snapshot: SymbolSnapshot, query: InferenceQuery, moment: Moment, found: Found
    ) -> None:
        if moment.snapshot is not None and self._has_events(query, moment):
            found.order_book, found.imbalances = moment.snapshot.order_book, moment.snapshot.imbalances
            return
        start, as_of = moment.as_of - self._window, moment.as_of
        found.order_book, found.imbalances = await snapshot.last_events(start, as_of)
        found.events_place = "database"

    def _assembled(self, query: InferenceQuery, moment: Moment, found: Found) -> InferenceDataFrame:
        parts = self._parts(query, found.candles)
        imbalances = {} if found.imbalances is None else found.imbalances.values()
        as_of = microseconds(moment.as_of, "as_of")
        ages = {f"candles.{t.label}": part.age_s(as_of) for t, part in parts.items()}
        if query.include_order_book:
            ages |= _event_ages_s(moment, found)
        tables = {t: part.given for t, part in parts.items()}
        return InferenceDataFrame(
            symbol=query.symbol,
            timestamp=moment.asked,
            as_of=moment.as_of,
            candles=ArrayTables(tables),
            indicators=ArrayTables(tables, "indicators"),
            order_book=_book_frame(found, imbalances),
            imbalances=imbalances,
            context_before=ArrayTables(_before(query, moment, parts, found.before)),
            context_after=ArrayTables(_tables(found.after)),
            sources=_sources(query, found, parts),
            quality=QualityFlags(
                missing_candles={t: part.missing(as_of) for t, part in parts.items()},
                staleness_s=ages,
                forming=frozenset(t for t, table in tables.items() if table.has_forming_last),
                stale=stale_parts(ages, self._settings.stale_after_s),
                unconfirmed_s=moment.unconfirmed_s,
            ),
        )

    def _parts(
        self, query: InferenceQuery, candles: Mapping[Timeframe, CandleRows]
    ) -> dict[Timeframe, CandlePart]:
        return {
            timeframe: self._kept.get(
                query.symbol,
                timeframe,
                rows,
                query.recipes,
                query.candles,
                with_forming=query.include_forming,
            )
            for timeframe, rows in candles.items()
        }


def is_empty(frame: InferenceDataFrame) -> bool:
    """Tell whether nothing was visible at all."""
    return all(age != age for age in frame.quality.staleness_s.values())  # noqa: PLR0124 (NaN)


def _before(
    query: InferenceQuery,
    moment: Moment,
    parts: Mapping[Timeframe, CandlePart],
    read: Mapping[Timeframe, CandleRows],
) -> dict[Timeframe, CandleTable]:
    """Return the closed candles that open in the window before the moment."""
    if not query.context:
        return {}
    start, found = moment.as_of - query.context, _tables(read)
    return {t: found[t] if t in found else part.before(start) for t, part in parts.items()}


def _tables(rows: Mapping[Timeframe, CandleRows]) -> dict[Timeframe, CandleTable]:
    return {t: found.table(t, with_forming=False, indicators={}) for t, found in rows.items()}


def _book_frame(found: Found, imbalances: Mapping[str, float]) -> OrderBookDataFrame | None:
    book = found.order_book
    if book is None:
        return None
    is_at_book = found.imbalances is not None and found.imbalances.ts == book.ts
    return OrderBookDataFrame.from_book(book, imbalances=imbalances if is_at_book else {})


def _event_ages_s(moment: Moment, found: Found) -> dict[str, float]:
    events = {"order_book": found.order_book, "imbalances": found.imbalances}
    return {
        name: math.nan if event is None else (moment.as_of - event.ts).total_seconds()
        for name, event in events.items()
    }


def _sources(query: InferenceQuery, found: Found, parts: Mapping[Timeframe, CandlePart]) -> dict[str, str]:
    sources = {
        f"candles.{t.label}": f"{place}: {parts[t].kinds}" if len(parts[t].rows) else place
        for t, place in found.places.items()
    }
    if query.include_order_book:
        sources |= {"order_book": found.events_place, "imbalances": found.events_place}
    return sources
