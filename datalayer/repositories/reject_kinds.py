"""What sending rejected records in again does for each kind: validate, write, and look up what is stored by now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.order_books import OrderBookRepository
from datalayer.repositories.trades import TradeRepository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.timeframe import Timeframe
    from datalayer.domain.validation import DataValidator, ValidationResult
    from datalayer.domain.write_counts import WriteCounts

Record = dict[str, Any]


class RecordKind(Protocol):
    """Records of one kind and one instrument, inside the caller's transaction."""

    def validate(self, records: Sequence[Record]) -> ValidationResult[Any]:
        """Check records by the rules of today."""

    async def write(self, accepted: Any) -> WriteCounts:
        """Write what was accepted."""

    def changed(self, counts: WriteCounts) -> int:
        """Return how many stored rows a write replaced, or passed over without a look at what they say."""

    async def stored(self, accepted: Any) -> Record | None:
        """Return the stored record with the key of the one that was accepted."""

    def continues(self, earlier: Record, later: Record) -> bool:
        """Tell whether the second record says the same as the first, or is a later state of it."""


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles of one timeframe."""

    conn: AsyncConnection
    validator: DataValidator
    timeframe: Timeframe
    now: datetime | None

    def validate(self, records: Sequence[Record]) -> ValidationResult[pd.DataFrame]:
        """Check records by the rules of today."""
        return self.validator.validate_candles(records, self.timeframe, now=self.now)

    async def write(self, accepted: pd.DataFrame) -> WriteCounts:
        """Write what was accepted."""
        symbol = self.validator.instrument.symbol
        return await CandleRepository(self.conn).upsert_candles(symbol, self.timeframe, accepted)

    def changed(self, counts: WriteCounts) -> int:
        """Return how many stored candles were replaced."""
        return counts.updated

    async def stored(self, accepted: pd.DataFrame) -> Record | None:
        """Return the stored candle of the same open time, closed or not."""
        ts = accepted.index[0]
        frame = await CandleRepository(self.conn).query_ohlcv_data(
            self.validator.instrument.symbol,
            self.timeframe,
            start=ts,
            source="stored",
            as_of=ts + self.timeframe.length,
            price_type="decimal",
        )
        return _first_record(frame)

    def continues(self, earlier: Record, later: Record) -> bool:
        """Tell whether the second candle is the first one or a later state of it."""
        result = self.validate([earlier, later])
        return _rows(result.accepted_rows) == [1] and _rows(result.dropped_rows) == [0]


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades."""

    conn: AsyncConnection
    validator: DataValidator
    now: datetime | None

    def validate(self, records: Sequence[Record]) -> ValidationResult[pd.DataFrame]:
        """Check records by the rules of today."""
        return self.validator.validate_trades(records, now=self.now)

    async def write(self, accepted: pd.DataFrame) -> WriteCounts:
        """Write what was accepted."""
        return await TradeRepository(self.conn).insert_trades(self.validator.instrument.symbol, accepted)

    def changed(self, counts: WriteCounts) -> int:
        """Return how many trades were passed over, since one of their time and id is stored."""
        return counts.unchanged

    async def stored(self, accepted: pd.DataFrame) -> Record | None:
        """Return the stored trade of the same time and id."""
        ts = accepted.index[0]
        frame = await TradeRepository(self.conn).query_trades(
            self.validator.instrument.symbol, ts, as_of=ts, price_type="decimal"
        )
        return _first_record(frame[frame["trade_id"] == accepted["trade_id"].iloc[0]])

    def continues(self, earlier: Record, later: Record) -> bool:
        """Tell whether two trades are the same."""
        return _rows(self.validate([earlier, later]).dropped_rows) == [1]


@dataclass(frozen=True, slots=True)
class OrderBooks:
    """Order-book snapshots."""

    conn: AsyncConnection
    validator: DataValidator
    now: datetime | None

    def validate(self, records: Sequence[Record]) -> ValidationResult[OrderBookColumns]:
        """Check records by the rules of today."""
        return self.validator.validate_order_books(records, now=self.now)

    async def write(self, accepted: OrderBookColumns) -> WriteCounts:
        """Write what was accepted."""
        return await OrderBookRepository(self.conn).insert_order_books(
            self.validator.instrument.symbol, accepted
        )

    def changed(self, counts: WriteCounts) -> int:
        """Return how many snapshots were passed over, since one of their time is stored."""
        return counts.unchanged

    async def stored(self, accepted: OrderBookColumns) -> Record | None:
        """Return the stored snapshot of the same time."""
        symbol = self.validator.instrument.symbol
        ts = accepted.book(0, symbol).ts
        books = await OrderBookRepository(self.conn).query_orderbook_snapshots(symbol, ts, as_of=ts)
        if not len(books):
            return None
        book = books.book(0, symbol)
        return {name: getattr(book, name) for name in book.__slots__}

    def continues(self, earlier: Record, later: Record) -> bool:
        """Tell whether two snapshots are the same."""
        return _rows(self.validate([earlier, later]).dropped_rows) == [1]


def _rows(positions: NDArray[np.int64]) -> list[int]:
    return [int(position) for position in positions]


def _first_record(frame: pd.DataFrame) -> Record | None:
    if not len(frame):
        return None
    return {"ts": frame.index[0]} | {name: frame[name].iloc[0] for name in frame.columns}
