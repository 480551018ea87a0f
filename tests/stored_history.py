"""Captured market data in the database, for tests of streams."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.repositories import TradeRepository
from tests.market_books import capture_trades

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.repositories.history_stream import BatchStream

BTC: Final = "BTC/USDT"
ETH: Final = "ETH/USDT"
START: Final = datetime(2024, 8, 8, 23, 54, tzinfo=UTC)
"""Before the captures begin."""
END: Final = datetime(2024, 8, 9, 0, 6, tzinfo=UTC)
"""After they end."""


async def everything(stream: BatchStream[Any], most: int) -> list[Any]:
    found = [batch async for batch in stream]
    assert all(0 < len(batch) <= most for batch in found)
    return found


async def write_trades(engine: AsyncEngine) -> pd.DataFrame:
    async with engine.begin() as conn:
        await TradeRepository(conn).insert_trades(BTC, capture_trades("BTCUSDT"))
        return await TradeRepository(conn).query_trades(BTC)


async def many_trades(engine: AsyncEngine, rows: int) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO trades (ts, trade_id, price, size, side, instrument_id)"
                " SELECT CAST(:start AS timestamptz) + n / 5 * INTERVAL '100 milliseconds', n, n + 1, 1, 1, i.id"
                " FROM generate_series(0, CAST(:rows AS integer) - 1) AS n, instruments AS i WHERE i.symbol = :symbol"
            ),
            {"start": START, "rows": rows, "symbol": BTC},
        )


async def collect(stream: AsyncIterator[Any], found: list[Any]) -> None:
    async for batch in stream:
        found.append(batch)  # noqa: PERF401 - what came before an error counts


async def rename(engine: AsyncEngine, old: str, new: str) -> None:
    async with engine.begin() as conn:
        await conn.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
