"""The states of the candles in a range, read in parts of whole days."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.db.literals import sql_literal
from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.domain.silence import (
    MISSING,
    SILENT,
    SILENT_ABSENT,
    TRADED,
    CandleTotals,
    candle_states,
    on_grid,
    runs,
)
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.candle_queries import CandleSelection, aggregate_query, generated_query
from datalayer.repositories.candle_ranges import OpenRange
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import range_condition
from datalayer.repositories.rolled_up import read_rolled_up
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import Column, PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.candle_queries import RolledUp

_CANDLES_PER_PART: Final = 100_000
_AGGREGATED: Final = -1
_GENERATED: Final = 0
_OUT_OF_DATE: Final = -2
_COLUMNS: Final[dict[str, PgType]] = {
    "timeframe": "int4",
    "ts": "timestamptz",
    "volume": "int8",
    "trade_count": "int8",
}
_NAMES: Final = {TRADED: "traded", SILENT: "silent", SILENT_ABSENT: "silent", MISSING: "missing"}


async def state_intervals(
    conn: AsyncConnection,
    symbol: str,
    timeframe: Timeframe,
    opens: tuple[datetime, datetime],
    as_of: datetime,
) -> pd.DataFrame:
    """Return the `intervals` of a `CoverageReport` over the half-open range `opens`, which is on the grid."""
    reader = _Reader(conn, symbol, timeframe, as_of)
    firsts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    states: list[NDArray[np.int8]] = [np.zeros(0, np.int8)]
    start, end = opens
    for days in _parts(timeframe, start, end):
        found = await reader.states(days)
        skipped = max(0, (start - days[0]) // timeframe.length)
        wanted = found[skipped : (min(end, days[1]) - days[0]) // timeframe.length]
        begins = runs(wanted)
        firsts.append(begins + (days[0] - start) // timeframe.length + skipped)
        states.append(wanted[begins])
    return _frame(np.concatenate(firsts), np.concatenate(states), timeframe, opens)


def _parts(timeframe: Timeframe, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield ranges of whole days, in which every longer candle lies with all of its parts."""
    days = timedelta(days=max(1, _CANDLES_PER_PART * timeframe.value // Timeframe.D1.value))
    first = Timeframe.D1.floor(start)
    while first < end:
        yield first, min(first + days, Timeframe.D1.ceil(end))
        first += days


class _Reader:
    """Reads the candles of one timeframe and all longer ones, each time from one snapshot: they are compared."""

    def __init__(self, conn: AsyncConnection, symbol: str, timeframe: Timeframe, as_of: datetime) -> None:
        self._conn, self._instruments = conn, InstrumentRepository(conn)
        self._symbol, self._timeframe, self._as_of = symbol, timeframe, as_of

    async def states(self, days: tuple[datetime, datetime]) -> NDArray[np.int8]:
        own = self._timeframe
        candles = await self._totals(days, None)
        if own is not Timeframe.S1 and not candles[own].is_present.all():
            candles = await self._totals(days, await read_rolled_up(self._conn, *days))
        return candle_states(candles[own], [candles[other] for other in Timeframe if other > own])

    async def _totals(
        self, days: tuple[datetime, datetime], rolled_up: RolledUp | None
    ) -> Mapping[Timeframe, CandleTotals]:
        def query(instrument: Instrument) -> str:
            stored = self._stored(instrument, days)
            return (
                stored
                if rolled_up is None
                else f"{stored} UNION ALL {self._made(instrument, days, rolled_up)}"
            )

        _, columns = await copy_out_scaled(self._conn, self._instruments, self._symbol, query, _COLUMNS)
        found = {
            other: _on_grid(columns, other, other, days) for other in Timeframe if other >= self._timeframe
        }
        if rolled_up is not None:
            for mark in (_AGGREGATED, _GENERATED, _OUT_OF_DATE):
                more = _on_grid(columns, mark, self._timeframe, days)
                found[self._timeframe] = _filled(found[self._timeframe], more)
        return found

    def _stored(self, instrument: Instrument, days: tuple[datetime, datetime]) -> str:
        closed = f"ts + timeframe * interval '1 second' <= {sql_literal(self._as_of)}"
        return f"""
            SELECT timeframe, ts, volume, coalesce(trade_count, {UNKNOWN_COUNT})::bigint AS trade_count FROM candles
            WHERE {instrument_condition(instrument)} AND timeframe >= {sql_literal(self._timeframe.value)}
                AND {range_condition(*days)} AND {closed}
        """

    def _made(
        self,
        instrument: Instrument,
        days: tuple[datetime, datetime],
        rolled_up: RolledUp,
    ) -> str:
        """Return the query of the candles that can be had without being stored; empty before the first is closed."""
        end = max(days[0], min(days[1], self._timeframe.floor(self._as_of)))
        chosen = CandleSelection(self._timeframe, (OpenRange(days[0], end),), None, ("volume", "trade_count"))
        parts = {
            _AGGREGATED: aggregate_query(instrument, chosen, rolled_up),
            _GENERATED: generated_query(instrument, chosen, rolled_up),
            _OUT_OF_DATE: aggregate_query(instrument, chosen, rolled_up, dirty=True),
        }
        return " UNION ALL ".join(
            f"SELECT {mark}, ts, volume, trade_count FROM ({part}) AS made (ts, volume, trade_count, weight)"
            for mark, part in parts.items()
        )


def _on_grid(
    columns: Mapping[str, Column], marked: int, timeframe: Timeframe, days: tuple[datetime, datetime]
) -> CandleTotals:
    rows = columns["timeframe"].data == marked
    first = np.datetime64(days[0].replace(tzinfo=None), "us")
    slots = (columns["ts"].data[rows] - first) // np.timedelta64(timeframe.value, "s")
    size = (days[1] - days[0]) // timeframe.length
    return on_grid(slots, size, columns["volume"].data[rows], columns["trade_count"].data[rows])


def _filled(candles: CandleTotals, others: CandleTotals) -> CandleTotals:
    return CandleTotals(
        candles.is_present | others.is_present,
        np.where(candles.is_present, candles.volume, others.volume),
        np.where(candles.is_present, candles.trade_count, others.trade_count),
    )


def _frame(
    firsts: NDArray[np.int64],
    states: NDArray[np.int8],
    timeframe: Timeframe,
    opens: tuple[datetime, datetime],
) -> pd.DataFrame:
    kept = runs(states)  # a run may go on in the next part
    firsts, states = firsts[kept], states[kept]
    size = (opens[1] - opens[0]) // timeframe.length
    lasts = np.append(firsts[1:], size)[: len(firsts)]
    origin, step = np.datetime64(opens[0].replace(tzinfo=None), "us"), np.timedelta64(timeframe.value, "s")
    return pd.DataFrame(
        {
            "start": pd.DatetimeIndex(origin + firsts * step, tz="UTC"),
            "end": pd.DatetimeIndex(origin + lasts * step, tz="UTC"),
            "candles": lasts - firsts,
            "state": np.array([_NAMES[state] for state in states.tolist()], dtype=object),
            "is_absent": states >= SILENT_ABSENT,
        }
    )
