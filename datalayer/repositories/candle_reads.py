"""Candles from the best place that has each of them: stored, else a continuous aggregate, else rolled up now.

What is stored is read first, of all timeframes in one query. Only for open times that it lacks are the aggregates asked, and
only for those that they lack too are lower candles rolled up; so history without gaps costs one query.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np

from datalayer.db.copy_transfer import copy_out
from datalayer.db.literals import sql_literal
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.candle_queries import (
    CandleSelection,
    OpenRange,
    aggregate_query,
    first_lower_query,
    forming_query,
    generated_query,
    minutes_query,
    stored_query,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.instruments import InstrumentRepository

T = TypeVar("T")

SOURCES: Final = ("stored", "aggregate", "generated", "forming", "filled")
"""Where a candle of a frame is from; the numbers of `CandleColumns.origins` count from here."""

_ROOM: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class CandleColumns:
    """Candles of one timeframe, ascending and unique.

    Attributes:
        times: open times in UTC, datetime64[us], `[n]`.
        steps: counts by name of `VALUES`, int64, `[n]`.
        origins: places in `SOURCES`, int8, `[n]`.
        weights: how much of it there was, int64 `[n]`; of stored candles 0.
    """

    times: NDArray[np.datetime64]
    steps: Mapping[str, NDArray[np.int64]]
    origins: NDArray[np.int8]
    weights: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)

    def rows(self, selection: Any) -> CandleColumns:
        """Return some of the rows."""
        values = {name: column[selection] for name, column in self.steps.items()}
        return CandleColumns(self.times[selection], values, self.origins[selection], self.weights[selection])

    def without(self, times: NDArray[np.datetime64]) -> CandleColumns:
        """Return the rows that have none of these open times."""
        return self.rows(~np.isin(self.times, times)) if len(self) and len(times) else self

    def joined(self, other: CandleColumns) -> CandleColumns:
        """Return both, which have no open time in common."""
        if not len(other):
            return self
        values = {name: np.concatenate([column, other.steps[name]]) for name, column in self.steps.items()}
        both = CandleColumns(
            np.concatenate([self.times, other.times]),
            values,
            np.concatenate([self.origins, other.origins]),
            np.concatenate([self.weights, other.weights]),
        )
        return both.rows(np.argsort(both.times, kind="stable"))

    def last(self, limit: int | None) -> CandleColumns:
        """Return the last so many rows."""
        return self if limit is None else self.rows(slice(max(len(self) - limit, 0), None))


class CandleReader:
    """Reads candles of one instrument as counts of steps, in the caller's transaction."""

    def __init__(self, conn: AsyncConnection, instruments: InstrumentRepository, symbol: str) -> None:
        self._conn = conn
        self._instruments = instruments
        self._symbol = symbol
        self.instrument: Instrument
        self._seen: set[Instrument] = set()

    async def in_one_scale(self, reads: Callable[[], Awaitable[T]]) -> T:
        """Return what several reads give together, repeated if a scale was widened between them."""
        while True:
            self._seen.clear()
            found = await reads()
            if len(self._seen) <= 1:
                return found

    async def read(self, wanted: Sequence[CandleSelection], source: str) -> dict[Timeframe, CandleColumns]:
        """Return what there is, by timeframe; after it, `instrument` has the scales that the counts are in.

        A scale may be widened between two statements, and then those after it find nothing: it is all read again.

        Args:
            wanted: each timeframe once, one range each.
            source: `best`, or one of the first three `SOURCES`; of 1s there are stored candles only.
        """
        instrument = await self._instruments.get(self._symbol)
        while True:
            self.instrument, self._queries, self._rows = instrument, 0, 0
            found = await self._read(wanted, source)
            if not (self._queries == 1 and self._rows):
                # Scales only grow, so this ends.
                instrument = await self._instruments.get(self._symbol)
            if instrument == self.instrument:
                self._seen.add(instrument)
                return found

    async def _read(self, wanted: Sequence[CandleSelection], source: str) -> dict[Timeframe, CandleColumns]:
        found = await self._first(wanted, source)
        if source == "best":
            found = await self._add_aggregates(wanted, found)
            for chosen in wanted:
                known = found[chosen.timeframe].last(chosen.limit)
                found[chosen.timeframe] = await self._add_generated(chosen, known)
        for chosen in wanted:
            if chosen.forming_at is not None:
                forming = await self._forming(chosen, chosen.forming_at)
                found[chosen.timeframe] = found[chosen.timeframe].joined(forming)
        return {chosen.timeframe: found[chosen.timeframe].last(chosen.limit) for chosen in wanted}

    async def _first(self, wanted: Sequence[CandleSelection], source: str) -> dict[Timeframe, CandleColumns]:
        made = [chosen for chosen in wanted if chosen.timeframe is not Timeframe.S1]
        stored = wanted if source in {"best", "stored"} else [c for c in wanted if c not in made]
        found = {}
        if stored:
            found = await self._query(stored, "stored", lambda chosen: stored_query(self.instrument, chosen))
        if source == "aggregate" and made:
            found |= await self._query(made, "aggregate", lambda c: aggregate_query(self.instrument, c))
        if source == "generated":
            found |= {chosen.timeframe: await self._generated(chosen) for chosen in made}
        return found

    async def _add_aggregates(
        self, wanted: Sequence[CandleSelection], found: dict[Timeframe, CandleColumns]
    ) -> dict[Timeframe, CandleColumns]:
        lacking = [
            replace(chosen, ranges=ranges)
            for chosen in wanted
            if chosen.timeframe is not Timeframe.S1 and (ranges := _lacking(chosen, found[chosen.timeframe]))
        ]
        if not lacking:
            return found
        aggregated = await self._query(
            lacking, "aggregate", lambda chosen: aggregate_query(self.instrument, chosen, only_clean=True)
        )
        for timeframe, more in aggregated.items():
            stored = found[timeframe]
            found[timeframe] = stored.joined(await self._mended(timeframe, more.without(stored.times)))
        return found

    async def _mended(self, timeframe: Timeframe, aggregated: CandleColumns) -> CandleColumns:
        """Replace candles whose seconds have a hole by the roll-up of longer stored candles that have none there."""
        partial = aggregated.rows(aggregated.weights < timeframe.value)
        if timeframe is Timeframe.M1 or not len(partial):
            return aggregated
        ranges = ranges_of(partial.times, timeframe)
        chosen = CandleSelection(timeframe, ranges, None, tuple(aggregated.steps))
        others = await self._roll_up(chosen, lowest=Timeframe.M1)
        better = others.rows(np.isin(others.times, partial.times))
        if not len(better):
            return aggregated
        types: dict[str, PgType] = {"ts": "timestamptz", "weight": "int8"}
        minutes = await copy_out(self._conn, minutes_query(self.instrument, chosen), types)
        place = np.searchsorted(minutes["ts"].data, better.times)
        own = np.append(minutes["weight"].data, 0)[place]
        better = better.rows(better.weights > own)
        return aggregated.without(better.times).joined(better)

    async def _add_generated(self, chosen: CandleSelection, found: CandleColumns) -> CandleColumns:
        ranges = _lacking(chosen, found)
        if chosen.timeframe is Timeframe.S1 or not ranges:
            return found
        more = await self._generated(replace(chosen, ranges=ranges))
        return found.joined(more.without(found.times))

    async def _generated(self, chosen: CandleSelection) -> CandleColumns:
        """Roll up, reaching back step by step where only the last candles are wanted."""
        first = await copy_out(
            self._conn,
            first_lower_query(self.instrument, chosen.timeframe, chosen.hull.end),
            {"ts": "timestamptz"},
        )
        if not len(first["ts"].data):
            return _nothing(chosen)
        earliest = first["ts"].data.min().item().replace(tzinfo=UTC)
        bounded = replace(chosen, ranges=_bounded(chosen.ranges, chosen.timeframe.floor(earliest)))
        if not bounded.ranges:
            return _nothing(chosen)
        if chosen.limit is None:
            return await self._roll_up(bounded)
        span = chosen.timeframe.length * max(chosen.limit, 1)
        while True:
            back = replace(bounded, ranges=_bounded(bounded.ranges, bounded.hull.end - span))
            made = await self._roll_up(back)
            if len(made) >= chosen.limit or back.ranges == bounded.ranges:
                return made
            span *= _ROOM

    async def _roll_up(self, chosen: CandleSelection, *, lowest: Timeframe = Timeframe.S1) -> CandleColumns:
        made = await self._query(
            [chosen], "generated", lambda selected: generated_query(self.instrument, selected, lowest=lowest)
        )
        return made[chosen.timeframe]

    async def _forming(self, chosen: CandleSelection, moment: datetime) -> CandleColumns:
        start = chosen.hull.start
        if chosen.timeframe is Timeframe.S1 or (start is not None and chosen.timeframe.floor(moment) < start):
            return _nothing(chosen)
        made = await self._query(
            [chosen], "forming", lambda selected: forming_query(self.instrument, selected, moment)
        )
        return made[chosen.timeframe]

    async def _query(
        self, wanted: Sequence[CandleSelection], origin: str, query: Callable[[CandleSelection], str]
    ) -> dict[Timeframe, CandleColumns]:
        """Read all timeframes in one query."""
        types = wanted[0].types | ({} if origin == "stored" else {"weight": "int8"})
        parts = [query(chosen) for chosen in wanted]
        if len(parts) > 1:
            types = {"timeframe": "int4", **types}
            parts = [
                f"SELECT {sql_literal(chosen.timeframe.value)} AS timeframe, part.* FROM ({part}) AS part"
                for chosen, part in zip(wanted, parts, strict=True)
            ]
        columns = await copy_out(self._conn, " UNION ALL ".join(parts), types)
        data = {name: column.data for name, column in columns.items()}
        rows = len(data["ts"])
        self._queries += 1
        self._rows += rows
        weights = data.get("weight", np.broadcast_to(np.int64(0), rows))
        origins = np.broadcast_to(np.int8(SOURCES.index(origin)), rows)
        everything = CandleColumns(
            data["ts"], {name: data[name] for name in wanted[0].values}, origins, weights
        )
        if len(wanted) == 1:
            return {wanted[0].timeframe: _ascending(everything)}
        return {c.timeframe: _ascending(everything.rows(data["timeframe"] == c.timeframe)) for c in wanted}


def _ascending(columns: CandleColumns) -> CandleColumns:
    if len(columns) > 1 and columns.times[0] > columns.times[-1]:
        return columns.rows(slice(None, None, -1))
    return columns


def _nothing(chosen: CandleSelection) -> CandleColumns:
    none = np.zeros(0, np.int64)
    return CandleColumns(
        none.view("datetime64[us]"), dict.fromkeys(chosen.values, none), none.astype(np.int8), none
    )


def _lacking(chosen: CandleSelection, found: CandleColumns) -> tuple[OpenRange, ...]:
    """Return the ranges of open times that were asked for and not found; of a limited selection after its first row."""
    timeframe = chosen.timeframe
    if chosen.limit == 0:
        return ()
    asked = chosen.hull.on_grid(timeframe)
    start, end = asked.start, asked.end
    if not len(found):
        return (asked,) if start is None or start < end else ()
    step = np.timedelta64(timeframe.value, "s")
    jumps = np.flatnonzero(np.diff(found.times) != step)
    ranges = [OpenRange(_utc(found.times[row] + step), _utc(found.times[row + 1])) for row in jumps.tolist()]
    first, last = _utc(found.times[0]), _utc(found.times[-1] + step)
    if (chosen.limit is None or len(found) < chosen.limit) and (start is None or start < first):
        ranges.insert(0, OpenRange(start, first))
    if last < end:
        ranges.append(OpenRange(last, end))
    return tuple(ranges)


def ranges_of(times: NDArray[np.datetime64], timeframe: Timeframe) -> tuple[OpenRange, ...]:
    """Return the ranges that candles of these open times cover; at least one time, ascending."""
    step = np.timedelta64(timeframe.value, "s")
    breaks = np.flatnonzero(np.diff(times) != step) + 1
    return tuple(OpenRange(_utc(run[0]), _utc(run[-1] + step)) for run in np.split(times, breaks))


def _bounded(ranges: Sequence[OpenRange], earliest: datetime) -> tuple[OpenRange, ...]:
    """Return what of the ranges is not before `earliest`."""
    starts = [earliest if opens.start is None else max(opens.start, earliest) for opens in ranges]
    kept = zip(starts, ranges, strict=True)
    return tuple(OpenRange(start, opens.end) for start, opens in kept if start < opens.end)


def _utc(moment: np.datetime64) -> datetime:
    found: Any = moment.item()
    return cast("datetime", found.replace(tzinfo=UTC))
