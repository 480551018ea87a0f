"""Holes that live feeds know of: noted, resolved, listed; and those that ids of stored trades show."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.feed_gap import FeedGap, GapState
from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.instruments import InstrumentRepository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

_KEY: Final = ("symbol", "kind", "timeframe", "start_ts", "end_ts", "first_id", "last_id")
_VALUES: Final = (*_KEY, "source", "cause", "missing", "state", "filled")
_SAME: Final = " AND ".join(f"g.{name} IS NOT DISTINCT FROM given.{name}" for name in _KEY)
_RECORD: Final = text(f"""
    WITH given AS (
        SELECT CAST(:symbol AS text) AS symbol, CAST(:kind AS text) AS kind,
            CAST(:timeframe AS integer) AS timeframe, CAST(:start_ts AS timestamptz) AS start_ts,
            CAST(:end_ts AS timestamptz) AS end_ts, CAST(:first_id AS bigint) AS first_id,
            CAST(:last_id AS bigint) AS last_id, CAST(:source AS text) AS source, CAST(:cause AS text) AS cause,
            CAST(:missing AS bigint) AS missing, CAST(:state AS text) AS state, CAST(:filled AS bigint) AS filled
    ), known AS (
        SELECT g.id FROM feed_gaps AS g, given WHERE {_SAME} LIMIT 1
    ), made AS (
        INSERT INTO feed_gaps ({", ".join(_VALUES)})
        SELECT {", ".join(_VALUES)} FROM given WHERE NOT EXISTS (SELECT FROM known)
        RETURNING id
    )
    SELECT id FROM known UNION ALL SELECT id FROM made
""")
_RESOLVE: Final = text(
    "UPDATE feed_gaps SET state = :state, filled = :filled, changed_at = now() WHERE id = :id"
)
_LIST: Final = """
    SELECT symbol, kind, timeframe, start_ts, end_ts, source, cause, missing, first_id, last_id, state, filled, id
    FROM feed_gaps WHERE {where} ORDER BY start_ts, id
"""
_TRADE_GAPS: Final = text("""
    SELECT before_id + 1, trade_id - 1, least(before_ts, ts), greatest(before_ts, ts) FROM (
        SELECT ts, trade_id, lag(trade_id) OVER by_id AS before_id, lag(ts) OVER by_id AS before_ts
        FROM trades WHERE instrument_id = :instrument_id AND ts >= :since WINDOW by_id AS (ORDER BY trade_id)
    ) AS neighbours WHERE trade_id > before_id + 1 ORDER BY trade_id
""")


class FeedGapRepository:
    """Notes and lists holes inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    async def record(self, gap: FeedGap) -> int:
        """Note a hole; one that is noted already is left as it is. Returns its number.

        Raises:
            DatabaseError: the server refuses.
        """
        given = asdict(gap) | {"start_ts": gap.start, "end_ts": gap.end}
        with driver_errors_translated():
            found = await self._conn.execute(_RECORD, {name: given[name] for name in _VALUES})
            return int(found.scalar_one())

    async def resolve(self, gap_id: int, state: GapState, filled: int) -> None:
        """Note what became of a hole.

        Args:
            gap_id: as `record` returned it.
            state: what it is from now on.
            filled: how many of the missing records have been filled.

        Raises:
            DatabaseError: the server refuses.
        """
        with driver_errors_translated():
            await self._conn.execute(_RESOLVE, {"id": gap_id, "state": state, "filled": filled})

    async def list_gaps(
        self,
        symbols: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        states: Iterable[GapState] = ("open", "lost"),
        timeframe: Timeframe | None = None,
    ) -> list[FeedGap]:
        """Return holes, ascending by their start.

        Args:
            symbols: in any known spelling; None: all.
            start: only those that end after this time, aware.
            end: only those that begin before this time, aware.
            states: only those in one of these states.
            timeframe: only those of candles of this timeframe, and of events.

        Raises:
            InvalidInputError: a symbol names no pair, or a time is naive.
            DatabaseError: the server refuses.
        """
        where, values = ["state = ANY (:states)"], dict[str, Any](states=list(states))
        if symbols is not None:
            values["symbols"] = [canonical_symbol(symbol) for symbol in symbols]
            where.append("symbol = ANY (:symbols)")
        if start is not None:
            values["start"] = utc_moment(start, "start")
            where.append("end_ts > :start")
        if end is not None:
            values["end"] = utc_moment(end, "end")
            where.append("start_ts < :end")
        if timeframe is not None:
            values["timeframe"] = timeframe.value
            where.append("coalesce(timeframe, :timeframe) = :timeframe")
        with driver_errors_translated():
            rows = await self._conn.execute(text(_LIST.format(where=" AND ".join(where))), values)
        return [
            FeedGap(symbol, kind, None if length is None else Timeframe(length), *others)
            for symbol, kind, length, *others in rows
        ]

    async def list_trade_id_gaps(
        self, symbol: str, since: datetime
    ) -> list[tuple[int, int, datetime, datetime]]:
        """Return the ranges of ids that are missing between stored trades, where the exchange counts them up by one.

        Args:
            symbol: a registered instrument, in any known spelling.
            since: trades from this time on are looked at, aware.

        Returns:
            First and last missing id, and the times of the trades before and after, the earlier one first; ascending by id.

        Raises:
            InvalidInputError: the symbol is not registered, or `since` is naive.
            DatabaseError: the server refuses.
        """
        instrument = await self._instruments.get(symbol)
        values = {"instrument_id": instrument.id, "since": utc_moment(since, "since")}
        with driver_errors_translated():
            rows = await self._conn.execute(_TRADE_GAPS, values)
            return [(row[0], row[1], row[2], row[3]) for row in rows]
