"""Reading what the candle aggregates hold, before reading from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db.aggregates import AGGREGATES
from datalayer.repositories.candle_queries import RolledUp
from datalayer.repositories.candle_ranges import fewer
from datalayer.repositories.materialised import read_dirty_ranges, read_materialised

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


async def read_rolled_up(conn: AsyncConnection, start: datetime, end: datetime) -> RolledUp:
    """Return what the candle aggregates hold by now, for reading candles in `[start, end)`.

    Raises:
        DatabaseError: the database is not migrated, or the server refuses.
    """
    dirty = await read_dirty_ranges(conn, "candles", start, end)
    materialised = await read_materialised(conn, (a.name for a in AGGREGATES["candles"]))
    return RolledUp({a.bucket: materialised[a.name] for a in AGGREGATES["candles"]}, fewer(dirty))
