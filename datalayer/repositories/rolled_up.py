"""Reading what the candle aggregates hold, before reading from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db.aggregates import AGGREGATES
from datalayer.repositories.candle_queries import RolledUp
from datalayer.repositories.candle_ranges import fewer
from datalayer.repositories.materialised import read_materialised_and_dirty

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


async def read_rolled_up(conn: AsyncConnection, start: datetime, end: datetime) -> RolledUp:
    """Return what the candle aggregates hold by now, for reading candles in `[start, end)`.

    Raises:
        DatabaseError: the database is not migrated, or the server refuses.
    """
    levels = AGGREGATES["candles"]
    found, dirty = await read_materialised_and_dirty(conn, (a.name for a in levels), "candles", start, end)
    return RolledUp({a.bucket: found[a.name] for a in levels}, fewer(dirty))
