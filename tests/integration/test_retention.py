"""Retention drops what is older than its windows, compressed or not, and nothing else; aggregates keep what their source lost."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd
from sqlalchemy import text

from datalayer.db.digest import digest_database
from datalayer.models import windows
from datalayer.timescale import compress_chunks
from tests.late_rows import write_books, write_candles
from tests.refreshing import materialise, refresh, run_job, server_now

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer import Settings

DAYS = timedelta(days=1)
AGES = [
    timedelta(days=days) for days in (900, 400, 364, 200, 181, 179, 120, 98, 91, 89, 45, 32, 31, 29, 20, 5, 1)
]
DROPPED = {
    "trades": windows.TRADES,
    "order_books": windows.ORDER_BOOKS,
    "order_book_imbalances": windows.ORDER_BOOK_IMBALANCES,
    "order_book_1s": windows.ORDER_BOOK_1S,
}


async def fill(conn: AsyncConnection) -> datetime:
    """Put a row of each age into every table; returns the moment that ages count from."""
    now = await server_now(conn)
    times = pd.DatetimeIndex(sorted(now - age for age in AGES))
    await write_candles(conn, times)
    await write_books(conn, times)
    instrument_id = await conn.scalar(text("SELECT id FROM instruments"))
    rows = [{"ts": ts.to_pydatetime(), "id": instrument_id} for ts in times]
    await conn.execute(
        text(
            "INSERT INTO trades (ts, trade_id, price, size, side, instrument_id) VALUES (:ts, 1, 2, 3, 1, :id)"
        ),
        rows,
    )
    await conn.execute(
        text(
            "INSERT INTO order_book_imbalances (ts, book_imbalance_1s, instrument_id) VALUES (:ts, 0.25, :id)"
        ),
        rows,
    )
    return now


async def ages(engine: AsyncEngine, relation: str, now: datetime) -> set[int]:
    """Return the ages, in whole days, of the rows that there are."""
    async with engine.connect() as conn:
        times = await conn.scalars(text(f"SELECT DISTINCT ts FROM {relation}"))
        return {round((now - ts) / DAYS) for ts in times}


async def test_what_is_old_goes_and_nothing_else(engine: AsyncEngine, settings: Settings) -> None:
    async with engine.begin() as conn:
        now = await fill(conn)
    for family in ("candles", "order_books"):
        await materialise(engine, family, now - 1_000 * DAYS, now)
    for relation in ("trades", "order_books", "order_book_1s"):
        assert (await compress_chunks(engine, relation)).chunks > 5
    before = {one.relation: one for one in await digest_database(settings)}
    assert all(before[relation].rows == len(AGES) for relation in DROPPED)

    for relation in DROPPED:
        await run_job(engine, relation, "retention")

    after = {one.relation: one for one in await digest_database(settings)}
    assert {name for name in before if before[name] != after[name]} == set(DROPPED)
    for relation, window in DROPPED.items():
        assert window.drop_after is not None
        kept = await ages(engine, relation, now)
        assert kept >= {age.days for age in AGES if age < window.drop_after}, relation
        assert kept <= {age.days for age in AGES if age < window.drop_after + window.chunk_interval}, relation
    await refresh(engine, audit=True)
    assert await ages(engine, "order_book_1m", now) == {age.days for age in AGES}
    assert await ages(engine, "candles", now) == {age.days for age in AGES}
