"""Rows of several instruments at once, as columns of exact counts, for whoever has them in that form already.

The caller holds the instruments by `InstrumentRepository.hold_for_write`, and has checked the values against their scales.
Columns are those of the tables, `instrument_id` among them, in any order of rows, each key once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.domain.timeframe import Timeframe
from datalayer.domain.write_counts import WriteCounts
from datalayer.repositories import candles, imbalances, order_books, trades
from datalayer.repositories.batches import write_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import Column


async def write_candle_steps(conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
    """Write candles of any timeframes; a stored candle takes the new values.

    Args:
        conn: connection inside the caller's transaction.
        columns: instrument_id, timeframe (seconds), ts first, in this order.

    Raises:
        DatabaseError: the server refuses; the transaction is aborted.
    """
    seconds = columns[1].data == Timeframe.S1  # only they are what the aggregates are made of
    counts = WriteCounts()
    for rows, target in ((seconds, candles.SECONDS_TARGET), (~seconds, candles.TARGET)):
        if rows.any():
            part = columns if rows.all() else [column.rows(rows) for column in columns]
            counts += await write_batch(conn, target, part, {})
    return counts


async def write_trade_steps(conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
    """Write trades; one whose time and id are stored already is ignored.

    Args:
        conn: connection inside the caller's transaction.
        columns: instrument_id, ts, trade_id first, in this order.

    Raises:
        DatabaseError: the server refuses; the transaction is aborted.
    """
    return await write_batch(conn, trades.TARGET, columns, {})


async def write_order_book_steps(conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
    """Write snapshots; one whose time is stored already is ignored.

    Args:
        conn: connection inside the caller's transaction.
        columns: instrument_id and ts first, in this order.

    Raises:
        DatabaseError: the server refuses; the transaction is aborted.
    """
    return await write_batch(conn, order_books.TARGET, columns, {})


async def write_imbalance_rows(conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
    """Write imbalances; a stored row takes the new values, NULL replaces nothing.

    Args:
        conn: connection inside the caller's transaction.
        columns: instrument_id and ts first, in this order.

    Raises:
        DatabaseError: the server refuses; the transaction is aborted.
    """
    return await write_batch(conn, imbalances.TARGET, columns, {})
