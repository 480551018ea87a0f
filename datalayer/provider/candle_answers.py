"""Candles of several timeframes as DataFrames, from cache and database as one series each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from datalayer.cache.times import SECOND_US
from datalayer.domain.moments import from_microseconds
from datalayer.provider.candle_rows import NO_ROWS, joined
from datalayer.provider.moments import MomentFinder
from datalayer.provider.reads import SymbolSnapshot
from datalayer.provider.seam import read_plans, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from datalayer.cache import DataCacheManager
    from datalayer.domain.timeframe import Timeframe
    from datalayer.provider.candle_rows import CandleRows
    from datalayer.provider.moments import Moment
    from datalayer.provider.reads import Reads
    from datalayer.provider.seam import CandlePlan
    from datalayer.provider.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class CandleQuery:
    """What is asked for; see `UnifiedDataProvider.get_multi_timeframe_data`. Times are in UTC."""

    symbol: str
    timeframes: tuple[Timeframe, ...]
    start: datetime | None
    end: datetime | None
    limit: int | None
    as_of: datetime | None
    align: bool
    include_forming: bool


class CandleReader:
    """Answers queries.

    Args:
        cache: where the latest data are.
        settings: of the provider.
        reads: of the database.
    """

    def __init__(self, cache: DataCacheManager, settings: ProviderSettings, reads: Reads) -> None:
        self._reads = reads
        self._moments = MomentFinder(cache, settings)
        self._rows = max(cache.settings.candles_per_timeframe, round(cache.settings.correction_s) + 1)
        self._window_us = round(cache.settings.window_s * SECOND_US)

    def find_moment(self, query: CandleQuery) -> Moment:
        """Return the moment of the answer.

        Raises:
            InvalidInputError: it is in the future.
        """
        return self._moments.find(
            query.symbol,
            query.as_of,
            query.timeframes,
            self._rows,
            include_forming=query.include_forming,
        )

    async def read(self, query: CandleQuery, at: Moment) -> dict[str, pd.DataFrame]:
        """Return frames by label."""
        if not query.align:
            plans = self._plans(query, at)
            rows = await self._all(query.symbol, plans)
            frames = {t: _frame(query, t, rows[t]) for t in query.timeframes}
        else:
            plans, frames = await self._aligned(query, at)
        cached = {plan.request.timeframe: _cached_from(plan) for plan in plans}
        for timeframe, frame in frames.items():
            frame.attrs |= {"as_of": at.as_of, "from_cache": cached.get(timeframe)}
        return {t.label: frames[t] for t in query.timeframes}

    async def read_rows(self, query: CandleQuery, at: Moment) -> Mapping[Timeframe, CandleRows]:
        """Return candles that are not aligned."""
        return await self._all(query.symbol, self._plans(query, at))

    async def ages_s(self, query: CandleQuery, at: Moment) -> dict[str, float]:
        """Return for each timeframe the seconds since its last candle closed; NaN: there is none."""
        plans = [self._plan(at, t, None, None, 1) for t in query.timeframes]
        rows = await self._all(query.symbol, plans)
        ages = {}
        for timeframe, found in rows.items():
            close = from_microseconds(int(found.micros[-1])) + timeframe.length if len(found) else None
            age = float("nan") if close is None else (at.as_of - close).total_seconds()
            ages[f"candles.{timeframe.label}"] = age
        return ages

    def _plans(self, query: CandleQuery, at: Moment) -> list[CandlePlan]:
        within = query.start, query.end, query.limit
        forming = query.include_forming
        return [self._plan(at, t, *within, with_forming=forming) for t in query.timeframes]

    def _plan(
        self,
        at: Moment,
        timeframe: Timeframe,
        start: datetime | None,
        end: datetime | None,
        limit: int | None,
        *,
        with_forming: bool = False,
    ) -> CandlePlan:
        request = request_of(
            timeframe, at.as_of, start=start, end=end, limit=limit, with_forming=with_forming
        )
        return at.plan(request, self._window_us)

    async def _all(self, symbol: str, plans: Sequence[CandlePlan]) -> Mapping[Timeframe, CandleRows]:
        if all(plan.is_complete for plan in plans):
            return {plan.request.timeframe: plan.cached for plan in plans}
        async with self._reads.begin() as conn:
            return await read_plans(SymbolSnapshot(conn, symbol), plans)

    async def _aligned(
        self, query: CandleQuery, at: Moment
    ) -> tuple[list[CandlePlan], dict[Timeframe, pd.DataFrame]]:
        base = min(query.timeframes)
        plans = [self._plan(at, base, query.start, query.end, query.limit)]
        rows = dict(await self._all(query.symbol, plans))
        moments = rows[base].times + np.timedelta64(base.value, "s")
        if len(moments):
            first, last = _utc(moments[0]), _utc(moments[-1])
            others = [t for t in query.timeframes if t is not base]
            longer = [self._plan(at, t, t.floor(first) - t.length, t.floor(last), None) for t in others]
            rows |= await self._all(query.symbol, longer)
            for timeframe in others:
                rows[timeframe] = await self._reaching_back(query, at, timeframe, rows[timeframe], first)
            plans += longer
        found = {t: rows.get(t, NO_ROWS) for t in query.timeframes}
        return plans, {t: part.aligned_frame(query.symbol, t, moments) for t, part in found.items()}

    async def _reaching_back(
        self, query: CandleQuery, at: Moment, timeframe: Timeframe, rows: CandleRows, first: datetime
    ) -> CandleRows:
        """Return the candles with the one before them, where a gap hides what was closed at the first moment."""
        if len(rows) and _utc(rows.times[0]) + timeframe.length <= first:
            return rows
        plan = self._plan(at, timeframe, None, timeframe.floor(first), 1)
        earlier = (await self._all(query.symbol, [plan]))[timeframe]
        return joined([earlier, rows])


def _utc(moment: np.datetime64) -> datetime:
    found: Any = moment.item()
    return cast("datetime", found.replace(tzinfo=UTC))


def _frame(query: CandleQuery, timeframe: Timeframe, rows: CandleRows) -> pd.DataFrame:
    return rows.frame(query.symbol, timeframe, with_forming=query.include_forming)


def _cached_from(plan: CandlePlan) -> datetime | None:
    return from_microseconds(int(plan.cached.micros[0])) if len(plan.cached) else None
