"""Trades: written by columns, read into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.db.copy_columns import Column
from datalayer.db.staged_write import OnConflict, WriteTarget
from datalayer.domain.steps import PriceType, from_steps
from datalayer.domain.write_counts import WriteCounts
from datalayer.repositories.batches import write_batch
from datalayer.repositories.frames import check_columns, check_rows, integer_column, step_column, utc_times
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import last_rows, stretches, visible_range
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition
from datalayer.timings import timed

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument

TRADE_COLUMNS: Final[dict[str, PgType]] = {
    "ts": "timestamptz",
    "trade_id": "int8",
    "price": "int8",
    "size": "int8",
    "side": "int2",
}
_INT8: Final = (-(2**63), 2**63 - 1)
TARGET: Final = WriteTarget(
    table="trades", time="ts", key=("instrument_id", "ts", "trade_id"), equal_key="ignore"
)


class TradeRepository:
    """Writes and reads trades inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    async def insert_trades(
        self, symbol: str, frame: pd.DataFrame, *, on_conflict: OnConflict = "ignore"
    ) -> WriteCounts:
        """Write trades; one whose time and id are stored already is ignored. Repeating the write changes nothing.

        Args:
            symbol: a registered instrument, in any known spelling.
            frame: any order; index of exchange times, aware (converted to UTC), which may repeat; columns trade_id
                (int), price in the quote asset and size in the base asset (floats, `Decimal`, str or ints), and side
                (int): 1 the aggressor bought, -1 sold, 0 unknown. Other columns are not stored.
            on_conflict: what happens to a trade whose time and id are stored; see `OnConflict`.

        Returns:
            Exact counts; ignored trades, and rows that repeat another row entirely, count as unchanged.

        Raises:
            ScaleError: a value has more decimals than its instrument's scale, or is missing or infinite.
            InvalidInputError: symbol unknown; a column missing or twice; a time naive or missing; two rows of one time
                and id that differ; size not above zero; another side. Nothing is written.
            ConflictError: a stored trade says something else, and `on_conflict` is "error"; names the key.
            DatabaseError: the server refuses; the transaction is aborted.
        """
        instrument = await self._instruments.get_for_write(symbol)
        if not len(frame):
            return WriteCounts()
        columns = trade_columns(frame, instrument)
        target = TARGET.resolving(on_conflict)
        return await write_batch(self._conn, target, columns, {"instrument_id": ("int2", instrument.id)})

    @timed("query", "trades")
    async def query_trades(
        self,
        symbol: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int | None = None,
        as_of: datetime | None = None,
        price_type: PriceType = "float",
    ) -> pd.DataFrame:
        """Return the trades with times in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            start: first time, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was visible at this time, aware: `ts <= as_of`. None: now.
            price_type: prices and sizes as float64, as `Decimal` objects, or as int64 steps ("fixed").

        Returns:
            A frame indexed by time `timestamp` (datetime64[us, UTC], ascending, may repeat; trades of one time by id)
            with columns trade_id (int64), price, size, side (int8: 1 buy, -1 sell, 0 unknown). Empty with the same
            columns and dtypes if there is nothing.

        Raises:
            InvalidInputError: symbol unknown, a time naive, or `end` before `start`.
            DatabaseError: the server refuses.
        """
        order = last_rows(limit, ("ts", "trade_id"))
        for within in stretches(*visible_range(start, end, as_of), limit):
            instrument, columns = await copy_out_scaled(
                self._conn,
                self._instruments,
                symbol,
                lambda found: (
                    f"SELECT {', '.join(TRADE_COLUMNS)} FROM trades"
                    f" WHERE {instrument_condition(found)} AND {within} {order}"  # noqa: B023 (called at once)
                ),
                TRADE_COLUMNS,
            )
            if len(columns["ts"].data) == limit:
                break
        return trade_frame(columns, instrument, price_type, turn=limit is not None)


def trade_columns(frame: pd.DataFrame, instrument: Instrument) -> list[Column]:
    """Return a frame of `insert_trades` as the columns that are stored; raises as that does."""
    check_columns(frame, ["trade_id", "price", "size", "side"])
    size = step_column(frame, "size", instrument.size_scale)
    check_rows("size", frame["size"], size.data <= 0, "is not above zero")
    return [
        Column("ts", "timestamptz", utc_times(frame)),
        integer_column(frame, "trade_id", "int8", allowed=_INT8),
        step_column(frame, "price", instrument.price_scale),
        size,
        integer_column(frame, "side", "int2", allowed=(-1, 1)),
    ]


def trade_frame(
    columns: dict[str, Column], instrument: Instrument, price_type: PriceType, *, turn: bool = False
) -> pd.DataFrame:
    """Return what was read as `TRADE_COLUMNS` as a frame of `query_trades`; `turn` if it was read backwards."""
    values = {name: column.data[::-1] if turn else column.data for name, column in columns.items()}
    data = {
        "trade_id": values["trade_id"],
        "price": from_steps(values["price"], instrument.price_scale, price_type),
        "size": from_steps(values["size"], instrument.size_scale, price_type),
        "side": values["side"].astype(np.int8),
    }
    return pd.DataFrame(data, index=pd.DatetimeIndex(values["ts"], tz="UTC", name="timestamp"))
