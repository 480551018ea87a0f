"""Candles from the best place that has each of them: stored, else a continuous aggregate, else rolled up now.

What is stored is read first, of all timeframes in one query. Only for open times that it lacks are the aggregates asked, and
only for those that they lack too are lower candles rolled up; so history without gaps costs one query.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np

from datalayer.db.copy_transfer import copy_out
from datalayer.db.literals import sql_literal
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.candle_columns import SOURCES, CandleColumns, blank_columns
from datalayer.repositories.candle_queries import (
    CandleSelection,
    RolledUp,
    aggregate_query,
    beginnings_query,
    first_lower_query,
    forming_query,
    generated_query,
    minutes_query,
    seconds_query,
    stored_query,
)
from datalayer.repositories.candle_ranges import OpenRange, gaps_in, not_before, ranges_of
from datalayer.repositories.rolled_up import read_rolled_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.instruments import InstrumentRepository

T = TypeVar("T")

_MORE_COLUMNS: Final[Mapping[str, dict[str, PgType]]] = {
    "stored": {},
    "aggregate": {"weight": "int8"},
    "generated": {"weight": "int8", "made_of": "int4"},
    "forming": {"weight": "int8"},
}
_ROOM: Final = 4
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


Found: TypeAlias = dict[Timeframe, CandleColumns]


class CandleReader:
    """Reads candles of one instrument as counts of steps, in the caller's transaction.

    Args:
        conn: connection inside the caller's transaction.
        instruments: on the same connection.
        symbol: a registered instrument.
        in_snapshot: whether all statements of the transaction see the same state of the database; what the aggregates hold
            is then asked once.
    """

    def __init__(
        self,
        conn: AsyncConnection,
        instruments: InstrumentRepository,
        symbol: str,
        *,
        in_snapshot: bool = False,
    ) -> None:
        self._conn = conn
        self._instruments = instruments
        self._symbol = symbol
        self.instrument: Instrument
        self._seen: set[Instrument] = set()
        self._in_snapshot = in_snapshot
        self._known: tuple[tuple[datetime, datetime], RolledUp] | None = None

    async def in_one_scale(self, reads: Callable[[], Awaitable[T]]) -> T:
        """Return what several reads give together, repeated if a scale was widened between them."""
        while True:
            self._seen.clear()
            found = await reads()
            if len(self._seen) <= 1:
                return found

    async def read(self, wanted: Sequence[CandleSelection], source: str) -> Found:
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

    async def _read(self, wanted: Sequence[CandleSelection], source: str) -> Found:
        """Read what is wanted; the last so many first from where they would be if few were missing.

        Without a bound a query is planned for every chunk there is, which takes longer than to read the rows.
        """
        near = [_near_the_end(chosen) for chosen in wanted]
        found = await self._read_places(near, source)
        short = {
            chosen: tried.hull.start
            for chosen, tried in zip(wanted, near, strict=True)
            if tried is not chosen and len(found[chosen.timeframe]) < (chosen.limit or 0)
        }
        further = await self._beginning_before(short) if short else []
        return found | await self._read_places(further, source) if further else found

    async def _beginning_before(
        self, short: Mapping[CandleSelection, datetime | None]
    ) -> list[CandleSelection]:
        """Return the selections for which there may be something before a time."""
        rolled_up = await self._rolled_up()
        query = beginnings_query(self.instrument, [chosen.timeframe for chosen in short], rolled_up)
        columns = await copy_out(self._conn, query, {"timeframe": "int4", "ts": "timestamptz"})
        self._queries += 1
        at, firsts = columns["timeframe"].data, columns["ts"].data
        further = []
        for chosen, start in short.items():
            counts = ((at > 0) & (at <= chosen.timeframe)) | (at == -chosen.timeframe)
            if start is None or (firsts[counts] < np.datetime64(start.replace(tzinfo=None), "us")).any():
                further.append(chosen)
        return further

    async def _read_places(self, wanted: Sequence[CandleSelection], source: str) -> Found:
        self._hull = _days(wanted)
        if not self._in_snapshot:
            self._known = None
        found = {chosen.timeframe: blank_columns(chosen.values) for chosen in wanted}
        stored = [c for c in wanted if source in {"best", "stored"} or c.timeframe is Timeframe.S1]
        found |= await self._query(stored, "stored", stored_query)
        made = [chosen for chosen in wanted if chosen.timeframe is not Timeframe.S1]
        if source in {"best", "aggregate"}:
            aggregated = await self._aggregated(_lacking(made, found))
            found = _joined(found, await self._mended(aggregated) if source == "best" else aggregated)
        if source != "stored":
            lacking = _lacking(made, _limited(wanted, found))
            generated = await self._generated(lacking, only_seconds=source == "aggregate")
            if source == "generated":
                generated = {t: columns.labelled("generated") for t, columns in generated.items()}
            found = _joined(found, generated)
        found = _joined(found, await self._forming([chosen for chosen in made if _forms(chosen)]))
        return _limited(wanted, found)

    async def _aggregated(self, wanted: Sequence[CandleSelection]) -> Found:
        if not wanted:
            return {}
        rolled_up = await self._rolled_up()
        clean = await self._query_rolled_up(wanted, "aggregate", aggregate_query)
        if not rolled_up.dirty:
            return clean
        dirty = [
            c for c in wanted if rolled_up.dirty_in([o.on_grid(c.timeframe) for o in c.ranges], c.timeframe)
        ]
        return _joined(clean, await self._last_copies(dirty))

    async def _last_copies(self, wanted: Sequence[CandleSelection]) -> Found:
        """Return the candles that are out of date, and made of more 1s candles than there are by now.

        1s candles are only deleted on purpose, by dropping chunks of them: the aggregate is what is left.
        """
        old = await self._query_rolled_up(wanted, "aggregate", partial(aggregate_query, dirty=True))
        asked = [
            CandleSelection(timeframe, ranges_of(columns.times, timeframe), None, ())
            for timeframe, columns in old.items()
            if len(columns)
        ]
        left = await self._query(asked, "aggregate", seconds_query)
        return {t: old[t].rows(old[t].weights > left[t].weights_at(old[t].times)) for t in left}

    async def _mended(self, aggregated: Found) -> Found:
        """Replace candles whose seconds have a hole by the roll-up of longer stored candles that have none there."""
        incomplete: Found = {
            timeframe: columns.rows(columns.weights < timeframe.value)
            for timeframe, columns in aggregated.items()
            if timeframe is not Timeframe.M1
        }
        chosen = [
            CandleSelection(timeframe, ranges_of(columns.times, timeframe), None, tuple(columns.steps))
            for timeframe, columns in incomplete.items()
            if len(columns)
        ]
        others = await self._query(chosen, "generated", lambda of, c: generated_query(of, c, None))
        others = {
            t: columns.rows(np.isin(columns.times, incomplete[t].times)) for t, columns in others.items()
        }
        asked = [replace(c, values=()) for c in chosen if len(others[c.timeframe])]
        mended = dict(aggregated)
        counted = await self._query_rolled_up(asked, "aggregate", minutes_query)
        for timeframe, own in counted.items():
            better = others[timeframe]
            place = np.searchsorted(own.times, better.times)
            better = better.rows(better.weights > np.append(own.weights, 0)[place])
            mended[timeframe] = aggregated[timeframe].without(better.times).joined(better)
        return mended

    async def _generated(self, wanted: Sequence[CandleSelection], *, only_seconds: bool) -> Found:
        """Roll up, reaching back step by step where only the last candles are wanted."""
        found = {chosen.timeframe: blank_columns(chosen.values) for chosen in wanted}
        left = [bounded for chosen in wanted if (bounded := await self._from_first(chosen)).ranges]
        reach = 1
        while left:
            near = [_reaching_back(chosen, reach) for chosen in left]
            roll_up = partial(generated_query, only_seconds=only_seconds)
            found |= await self._query_rolled_up(near, "generated", roll_up)
            left = [
                chosen
                for chosen, tried in zip(left, near, strict=True)
                if tried.ranges != chosen.ranges and len(found[chosen.timeframe]) < (chosen.limit or 0)
            ]
            reach *= _ROOM
        return found

    async def _forming(self, wanted: Sequence[CandleSelection]) -> Found:
        if not wanted:
            return {}
        rolled_up = await self._rolled_up()
        query = forming_query(self.instrument, wanted, rolled_up)
        return await self._read_rows(wanted, "forming", query, labelled=True)

    async def _from_first(self, chosen: CandleSelection) -> CandleSelection:
        """Return the selection from where there is something to roll up; without ranges, if there is nothing."""
        if chosen.hull.start is not None:
            return chosen
        query = first_lower_query(self.instrument, chosen.timeframe, chosen.hull.end)
        first = (await copy_out(self._conn, query, {"ts": "timestamptz"}))["ts"].data
        self._queries += 1
        if not len(first):
            return replace(chosen, ranges=())
        earliest = chosen.timeframe.floor(first.min().item().replace(tzinfo=UTC))
        return replace(chosen, ranges=not_before(chosen.ranges, earliest))

    async def _rolled_up(self) -> RolledUp:
        """Return what the aggregates hold; the same throughout one read."""
        start, end = self._hull
        if self._known is None or not self._known[0][0] <= start <= end <= self._known[0][1]:
            self._known = self._hull, await read_rolled_up(self._conn, start, end)
        return self._known[1]

    async def _query_rolled_up(
        self,
        wanted: Sequence[CandleSelection],
        origin: str,
        query: Callable[[Instrument, CandleSelection, RolledUp], str],
    ) -> Found:
        """Do as `_query` with a query that depends on what the aggregates hold."""
        if not wanted:
            return {}
        rolled_up = await self._rolled_up()
        return await self._query(wanted, origin, lambda of, c: query(of, c, rolled_up))

    async def _query(
        self,
        wanted: Sequence[CandleSelection],
        origin: str,
        query: Callable[[Instrument, CandleSelection], str],
    ) -> Found:
        """Read all timeframes in one query."""
        if not wanted:
            return {}
        parts = [query(self.instrument, chosen) for chosen in wanted]
        if len(parts) == 1:
            return await self._read_rows(wanted, origin, parts[0], labelled=False)
        parts = [
            f"SELECT {sql_literal(chosen.timeframe.value)} AS timeframe, part.* FROM ({part}) AS part"
            for chosen, part in zip(wanted, parts, strict=True)
        ]
        return await self._read_rows(wanted, origin, " UNION ALL ".join(parts), labelled=True)

    async def _read_rows(
        self, wanted: Sequence[CandleSelection], origin: str, query: str, *, labelled: bool
    ) -> Found:
        """Read the rows of a query; those of several timeframes are labelled by the first column, `timeframe`."""
        types = wanted[0].types | _MORE_COLUMNS[origin]
        columns = await copy_out(self._conn, query, {"timeframe": "int4", **types} if labelled else types)
        data = {name: column.data for name, column in columns.items()}
        rows = len(data["ts"])
        self._queries += 1
        self._rows += rows
        weights = data.get("weight", np.broadcast_to(np.int64(0), rows))
        origins = np.full(rows, SOURCES.index(origin), np.int8)
        if "made_of" in data:
            origins[data["made_of"] == Timeframe.S1] = SOURCES.index("aggregate")
        everything = CandleColumns(
            data["ts"], {name: data[name] for name in wanted[0].values}, origins, weights
        )
        if not labelled:
            return {wanted[0].timeframe: everything.ascending()}
        return {c.timeframe: everything.rows(data["timeframe"] == c.timeframe).ascending() for c in wanted}


def _lacking(wanted: Sequence[CandleSelection], found: Found) -> list[CandleSelection]:
    """Return what was asked for and not found; of a limited selection only what is after its first row."""
    lacking = []
    for chosen in wanted:
        if chosen.limit == 0:
            continue
        times = found[chosen.timeframe].times
        asked = chosen.hull.on_grid(chosen.timeframe)
        if chosen.limit is not None and len(times) >= chosen.limit:
            asked = OpenRange(times[0].item().replace(tzinfo=UTC), asked.end)
        if ranges := gaps_in(asked, times, chosen.timeframe):
            lacking.append(replace(chosen, ranges=ranges))
    return lacking


def _joined(found: Found, more: Found) -> Found:
    """Return what was found, and of the rest what it lacks."""
    return found | {t: found[t].joined(columns.without(found[t].times)) for t, columns in more.items()}


def _limited(wanted: Sequence[CandleSelection], found: Found) -> Found:
    return {chosen.timeframe: found[chosen.timeframe].last(chosen.limit) for chosen in wanted}


def _forms(chosen: CandleSelection) -> bool:
    """Tell whether a candle is asked for that forms, and opens in the range."""
    start, moment = chosen.hull.start, chosen.forming_at
    return moment is not None and (start is None or chosen.timeframe.floor(moment) >= start)


def _near_the_end(chosen: CandleSelection) -> CandleSelection:
    hull, length = chosen.hull, chosen.timeframe.length
    # Seconds without a trade have no candle; of longer ones few are missing.
    limit = chosen.limit or 0
    slots = limit * _ROOM if chosen.timeframe is Timeframe.S1 else limit + limit // 8
    if not slots or slots >= (hull.end - (hull.start or _EARLIEST)) // length:
        return chosen
    return replace(chosen, ranges=(OpenRange(hull.end - slots * length, hull.end),))


def _reaching_back(chosen: CandleSelection, reach: int) -> CandleSelection:
    hull = chosen.hull
    if chosen.limit is None or hull.start is None:
        return chosen
    length = chosen.timeframe.length
    slots = min(chosen.limit * reach, (hull.end - hull.start) // length + 1)
    return replace(chosen, ranges=not_before(chosen.ranges, max(hull.start, hull.end - length * slots)))


def _days(wanted: Sequence[CandleSelection]) -> tuple[datetime, datetime]:
    """Return whole days that hold all candles, and those that form, with their parts."""
    starts = [chosen.hull.start or _EARLIEST for chosen in wanted]
    ends = [chosen.forming_at or chosen.hull.end for chosen in wanted]
    day = Timeframe.D1.length
    return Timeframe.D1.floor(min(*starts, *ends)), Timeframe.D1.floor(min(max(ends), _LATEST - day)) + day
