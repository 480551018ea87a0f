"""Imbalances: written by columns, read into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.db.copy_columns import Column
from datalayer.db.copy_transfer import copy_out
from datalayer.db.literals import sql_literal
from datalayer.db.staged_write import OnConflict, WriteTarget
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import InvalidInputError
from datalayer.repositories.batches import write_batch
from datalayer.repositories.frames import check_columns, check_rows, utc_times
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import last_rows, stretches, visible_range
from datalayer.timings import timed

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType

_COLUMN_TYPES: Final[dict[str, PgType]] = {"ts": "timestamptz", **dict.fromkeys(IMBALANCES, "float8")}
TARGET: Final = WriteTarget(
    table="order_book_imbalances",
    time="ts",
    key=("instrument_id", "ts"),
    equal_key="update",
    kept_if_null=frozenset(IMBALANCES),
)


class ImbalanceRepository:
    """Writes and reads imbalances inside the caller's transaction; never commits.

    What they mean, and how they are computed, stands in `datalayer.domain.imbalances`.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    async def upsert_imbalances(
        self, symbol: str, frame: pd.DataFrame, *, on_conflict: OnConflict = "update"
    ) -> WriteCounts:
        """Write imbalances; a stored row takes the new values. Repeating the write changes nothing.

        Args:
            symbol: a registered instrument, in any known spelling.
            frame: any order; index of the times at which they were known, aware (converted to UTC); the eight
                `IMBALANCES` as floats in [-1, 1]. NaN: not known; stored as NULL, and a stored value stays as it is: after a
                restart, windows are not full, and must not replace those that were. Other columns are not stored.
            on_conflict: what happens to a row that is stored with other values; see `OnConflict`.

        Returns:
            Exact counts; rows that repeat another row entirely count as unchanged.

        Raises:
            InvalidInputError: symbol unknown; a column missing or twice, or not of numbers; a time naive or missing; a
                value beyond -1 or 1; two rows of one time that differ. Nothing is written.
            ConflictError: a stored row says something else, and `on_conflict` is "error"; names the key.
            DatabaseError: the server refuses; the transaction is aborted.
        """
        instrument = await self._instruments.get_for_write(symbol)
        if not len(frame):
            return WriteCounts()
        check_columns(frame, IMBALANCES)
        columns = [
            Column("ts", "timestamptz", utc_times(frame)),
            *(_column(frame, name) for name in IMBALANCES),
        ]
        return await write_batch(
            self._conn, TARGET.resolving(on_conflict), columns, {"instrument_id": ("int2", instrument.id)}
        )

    @timed("query", "orderbook_imbalances")
    async def query_orderbook_imbalances(
        self,
        symbol: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int | None = None,
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """Return the imbalances with times in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            start: first time, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was visible at this time, aware: `ts <= as_of`. None: now.

        Returns:
            A frame indexed by time `timestamp` (datetime64[us, UTC], ascending, unique), the end of the windows, with the
            eight `IMBALANCES` as float64 in [-1, 1]; NaN: not known. Empty with the same columns and dtypes if there is
            nothing.

        Raises:
            InvalidInputError: symbol unknown, a time naive, `end` before `start`, or `limit` negative.
            DatabaseError: the server refuses.
        """
        order = last_rows(limit, ("ts",))
        instrument = await self._instruments.get(symbol)
        values = ", ".join(f"coalesce({name}, 'NaN')" for name in IMBALANCES)
        whose = f"instrument_id = {sql_literal(instrument.id)}"
        for within in stretches(*visible_range(start, end, as_of), limit):
            query = f"SELECT ts, {values} FROM order_book_imbalances WHERE {whose} AND {within} {order}"
            columns = await copy_out(self._conn, query, _COLUMN_TYPES)
            if len(columns["ts"].data) == limit:
                break
        frame = pd.DataFrame(
            {name: columns[name].data for name in IMBALANCES},
            index=pd.DatetimeIndex(columns["ts"].data, tz="UTC", name="timestamp"),
        )
        return frame if limit is None else frame[::-1]


def _column(frame: pd.DataFrame, name: str) -> Column:
    values = frame[name]
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise InvalidInputError(name, str(values.dtype), "give floats in [-1, 1], NaN where it is not known")
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    check_rows(name, values, np.abs(numbers) > 1, "is no imbalance, which is in [-1, 1]")
    known = ~np.isnan(numbers)
    # NULL has no value; NaN under it would make rows that are equal differ.
    return Column(name, "float8", np.where(known, numbers, 0.0), None if known.all() else known)
