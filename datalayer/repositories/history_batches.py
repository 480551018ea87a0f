"""One batch of history at a time, from a position on.

A position is the key of the last row that was given, never its time alone: hundreds of trades share a microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from datalayer.db.copy_transfer import copy_out
from datalayer.db.literals import sql_literal
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import RESOLUTION, range_condition
from datalayer.repositories.order_books import BOOK_COLUMNS, SELECT_BOOKS, books_from
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition
from datalayer.repositories.trades import TRADE_COLUMNS, trade_frame

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import Column
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.steps import PriceType
    from datalayer.repositories.candles import CandleSource

Batch = TypeVar("Batch")
Step: TypeAlias = "tuple[Batch | None, Position | None]"

# A query names a range of about as long as the batch, so that it is planned for a few chunks and not for all of history.
_FIRST_SPAN: Final = timedelta(days=1)
_SHORTEST_SPAN: Final = timedelta(minutes=1)
_GROWTH: Final = 16


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next batch begins.

    Attributes:
        at: first time that it may have.
        after_id: of trades at `at`, only those with a higher id; None: all.
        span: how far to look.
    """

    at: datetime
    after_id: int | None = None
    span: timedelta = _FIRST_SPAN

    def until(self, end: datetime) -> datetime:
        """Return where looking ends."""
        return self.at + min(self.span, end - self.at)

    def after(self, last: datetime, last_id: int | None) -> Position:
        """Return the position behind the last row of a full batch."""
        span = max(2 * (last - self.at), _SHORTEST_SPAN)
        return Position(last + RESOLUTION if last_id is None else last, last_id, span)

    def beyond(self, end: datetime) -> Position | None:
        """Return the position behind all that was looked at; None: at the end."""
        until = self.until(end)
        return Position(until, None, _GROWTH * min(self.span, end - self.at)) if until < end else None


@dataclass(frozen=True, slots=True)
class TradeBatches:
    """Trades with `ts < end`, as frames of `query_trades`."""

    symbol: str
    end: datetime
    batch_rows: int
    price_type: PriceType

    async def read(self, conn: AsyncConnection, position: Position) -> Step[pd.DataFrame]:
        """Return a batch and the next position."""
        instrument, columns = await copy_out_scaled(
            conn,
            InstrumentRepository(conn),
            self.symbol,
            lambda found: self.query(found, position),
            TRADE_COLUMNS,
        )
        ids = columns["trade_id"].data
        if len(ids) < self.batch_rows:
            following = position.beyond(self.end)
        else:
            following = position.after(_last_time(columns), int(ids[-1]))
        return trade_frame(columns, instrument, self.price_type) if len(ids) else None, following

    def query(self, instrument: Instrument, position: Position) -> str:
        """Return the query of a batch."""
        key = f"({sql_literal(position.at)}, {sql_literal(position.after_id or 0)})"
        behind = "" if position.after_id is None else f" AND (ts, trade_id) > {key}"
        return (
            f"SELECT {', '.join(TRADE_COLUMNS)} FROM trades WHERE {instrument_condition(instrument)}"
            f" AND {range_condition(position.at, position.until(self.end))}{behind}"
            f" ORDER BY ts, trade_id LIMIT {sql_literal(self.batch_rows)}"
        )


@dataclass(frozen=True, slots=True)
class BookBatches:
    """Order books with `ts < end`."""

    symbol: str
    end: datetime
    batch_rows: int

    async def read(self, conn: AsyncConnection, position: Position) -> Step[OrderBookColumns]:
        """Return a batch and the next position."""
        instrument, columns = await copy_out_scaled(
            conn,
            InstrumentRepository(conn),
            self.symbol,
            lambda found: self.query(found, position),
            BOOK_COLUMNS,
        )
        rows = len(columns["ts"].data)
        if rows < self.batch_rows:
            following = position.beyond(self.end)
        else:
            following = position.after(_last_time(columns), None)
        return books_from(columns, instrument) if rows else None, following

    def query(self, instrument: Instrument, position: Position) -> str:
        """Return the query of a batch."""
        return (
            f"{SELECT_BOOKS} WHERE {instrument_condition(instrument)}"
            f" AND {range_condition(position.at, position.until(self.end))}"
            f" ORDER BY ts LIMIT {sql_literal(self.batch_rows)}"
        )


@dataclass(frozen=True, slots=True)
class CandleBatches:
    """Candles that open before `end`, which is on the grid, as frames of `query_ohlcv_data`."""

    symbol: str
    timeframe: Timeframe
    end: datetime
    as_of: datetime
    batch_rows: int
    source: CandleSource
    price_type: PriceType

    async def read(self, conn: AsyncConnection, position: Position) -> Step[pd.DataFrame]:
        """Return a batch and the next position: as many open times as rows are allowed."""
        left = (self.end - position.at) // self.timeframe.length
        until = position.at + min(self.batch_rows, left) * self.timeframe.length
        frame = await self._query(conn, position.at, until)
        if not len(frame) and until < self.end:
            until = await self._next_candle(conn, until)
        return frame if len(frame) else None, Position(until) if until < self.end else None

    async def _query(
        self, conn: AsyncConnection, start: datetime, end: datetime, limit: int | None = None
    ) -> pd.DataFrame:
        return await CandleRepository(conn).query_ohlcv_data(
            self.symbol,
            self.timeframe,
            start=start,
            end=end,
            limit=limit,
            as_of=self.as_of,
            source=self.source,
            price_type=self.price_type,
        )

    async def _next_candle(self, conn: AsyncConnection, start: datetime) -> datetime:
        """Return an open time before which there is no candle from `start` on."""
        instrument = await InstrumentRepository(conn).get(self.symbol)
        first = await copy_out(
            conn, next_candles_query(instrument, self.timeframe, start, self.end), {"ts": "timestamptz"}
        )
        times = first["ts"].data
        found = self.timeframe.floor(_aware(times.min())) if len(times) else self.end
        # An aggregate may have more than what is stored.
        return start if len(await self._query(conn, start, found, limit=1)) else found


def next_candles_query(instrument: Instrument, timeframe: Timeframe, start: datetime, end: datetime) -> str:
    """Return the query of the first stored candle in `[start, end)` of the timeframe and of each lower one."""
    lengths = ", ".join(f"({sql_literal(length.value)})" for length in Timeframe if length <= timeframe)
    return (
        f"SELECT head.ts FROM (VALUES {lengths}) AS lengths (timeframe) CROSS JOIN LATERAL ("
        f"SELECT ts FROM candles WHERE instrument_id = {sql_literal(instrument.id)}"
        f" AND timeframe = lengths.timeframe AND {range_condition(start, end)} ORDER BY ts LIMIT 1) AS head"
    )


def _last_time(columns: dict[str, Column]) -> datetime:
    return _aware(columns["ts"].data[-1])


def _aware(moment: object) -> datetime:
    found: datetime = moment.item()  # type: ignore[attr-defined]  # of datetime64[us]
    return found.replace(tzinfo=UTC)
