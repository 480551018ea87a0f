"""Reading rows and the scales that their integers mean something with, both as of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db.copy_transfer import copy_out
from datalayer.db.literals import sql_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import Column, PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.instruments import InstrumentRepository


def instrument_condition(instrument: Instrument) -> str:
    """Return the SQL that leaves only rows of an instrument, and none at all if its scales are others by now.

    The scales are looked up once a query, in the snapshot in which it reads the rows.
    """
    scales = f"{sql_literal(instrument.price_scale)}, {sql_literal(instrument.size_scale)}"
    key = sql_literal(instrument.id)
    return (
        f"instrument_id = {key}"
        f" AND (SELECT (price_scale, size_scale) = ({scales}) FROM instruments WHERE id = {key})"
    )


async def copy_out_scaled(
    conn: AsyncConnection,
    instruments: InstrumentRepository,
    symbol: str,
    query: Callable[[Instrument], str],
    types: Mapping[str, PgType],
) -> tuple[Instrument, dict[str, Column]]:
    """Read rows of an instrument, with the scales that they are in.

    A scale may be widened between two statements. Rows in a new scale, taken for rows in the old one, would be prices
    ten times too high.

    Args:
        conn: connection inside the caller's transaction.
        instruments: on the same connection.
        symbol: a registered instrument, in any known spelling.
        query: returns a SELECT whose rows are held by `instrument_condition`.
        types: as for `copy_out`.

    Returns:
        The instrument with the scales of the rows, and the columns.

    Raises:
        InvalidInputError: symbol unknown, or what `query` raises.
        DatabaseError: the server refuses.
    """
    instrument = await instruments.get(symbol)
    while True:
        columns = await copy_out(conn, query(instrument), types)
        if len(next(iter(columns.values())).data):
            return instrument, columns
        # Nothing there, or the scales are others: scales only grow, so this ends.
        seen, instrument = instrument, await instruments.get(symbol)
        if instrument == seen:
            return instrument, columns
