"""What the continuous aggregates ought to hold, recomputed in Python from the stored rows."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from datalayer.db.aggregates import AGGREGATES
from datalayer.domain.imbalances import IMBALANCE_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.timeframe import Timeframe

Row = dict[str, Any]
CANDLES = [(aggregate.name, aggregate.bucket) for aggregate in AGGREGATES["candles"]]
BOOKS = [(aggregate.name, aggregate.bucket) for aggregate in AGGREGATES["order_books"]]


async def rows_of(conn: AsyncConnection, relation: str, where: str = "true") -> list[Row]:
    result = await conn.execute(text(f"SELECT * FROM {relation} WHERE {where} ORDER BY instrument_id, ts"))
    return [dict(row) for row in result.mappings()]


def recomputed(rows: list[Row], bucket: Timeframe, one: Callable[[datetime, list[Row]], Row]) -> list[Row]:
    def of(row: Row) -> tuple[int, datetime]:
        return row["instrument_id"], bucket.floor(row["ts"])

    return [one(ts, list(group)) for (_, ts), group in groupby(rows, key=of)]


def candle_of(ts: datetime, rows: list[Row]) -> Row:
    counts = [row["trade_count"] for row in rows]
    return {
        "instrument_id": rows[0]["instrument_id"],
        "ts": ts,
        "open": rows[0]["open"],
        "high": max(row["high"] for row in rows),
        "low": min(row["low"] for row in rows),
        "close": rows[-1]["close"],
        "volume": sum(row["volume"] for row in rows),
        "trade_count": None if None in counts else sum(counts),
        "candle_count": len(rows),
    }


def book_of(ts: datetime, rows: list[Row]) -> Row:
    quoted = [row for row in rows if row["best_bid"] is not None and row["best_ask"] is not None]
    mids = [row["best_bid"] + row["best_ask"] for row in quoted] or [None]
    spreads = [row["best_ask"] - row["best_bid"] for row in quoted]
    volumes = [(row["bid_volume"], row["ask_volume"]) for row in rows]
    return {
        "instrument_id": rows[0]["instrument_id"],
        "ts": ts,
        "book_count": len(rows),
        "quoted_count": len(quoted),
        "mid2_open": mids[0],
        "mid2_high": max(mids, default=None) if quoted else None,
        "mid2_low": min(mids, default=None) if quoted else None,
        "mid2_close": mids[-1],
        "spread_min": min(spreads, default=None),
        "spread_max": max(spreads, default=None),
        "spread_sum": sum(spreads) if quoted else None,
        "bid_volume_sum": sum(bid for bid, _ in volumes),
        "ask_volume_sum": sum(ask for _, ask in volumes),
        "imbalance_sum": sum(
            round((bid - ask) / (bid + ask) * IMBALANCE_PARTS) if bid + ask else 0 for bid, ask in volumes
        ),
    }


async def assert_aggregates_agree(conn: AsyncConnection) -> None:
    candles = await rows_of(conn, "candles", "timeframe = 1")
    for name, bucket in CANDLES:
        assert await rows_of(conn, name) == recomputed(candles, bucket, candle_of)
    books = await rows_of(conn, "order_books")
    for name, bucket in BOOKS:
        assert await rows_of(conn, name) == recomputed(books, bucket, book_of)
