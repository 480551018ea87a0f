"""Order books by buckets, spelled out: exact rows from the books themselves, one by one."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.domain.imbalances import IMBALANCE_PARTS

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.order_book import OrderBook, OrderBookColumns
    from datalayer.domain.timeframe import Timeframe

Levels = list[tuple[Fraction, Fraction]]


def books_of(columns: OrderBookColumns) -> list[OrderBook]:
    """Return the books one by one, by time."""
    books = [columns.book(row, "BTC/USDT") for row in range(len(columns))]
    return sorted(books, key=lambda book: book.ts)


def exact(values: Any) -> list[Fraction]:
    return [Fraction(Decimal(repr(value))) for value in values.tolist()]


def levels(book: OrderBook, side: str) -> Levels:
    prices, sizes = getattr(book, f"{side}_prices"), getattr(book, f"{side}_sizes")
    return list(zip(exact(prices), exact(sizes), strict=True))


def buckets(books: list[OrderBook], length: Timeframe) -> list[tuple[datetime, list[OrderBook]]]:
    return [(ts, list(group)) for ts, group in groupby(books, key=lambda book: length.floor(book.ts))]


def mean(values: list[Fraction]) -> Fraction | None:
    return sum(values, Fraction(0)) / len(values) if values else None


def bucket_row(books: list[OrderBook]) -> dict[str, Any]:
    """Return the row of the books of one bucket; prices and volumes as `Fraction`, None without a quoted book."""
    sides = [(levels(book, "bid"), levels(book, "ask")) for book in books]
    quoted = [(bids[0][0], asks[0][0]) for bids, asks in sides if bids and asks]
    mids, spreads = [(bid + ask) / 2 for bid, ask in quoted], [ask - bid for bid, ask in quoted]
    volumes = [[sum((size for _, size in side), Fraction(0)) for side in both] for both in sides]
    shares = [(bid - ask) / (bid + ask) if bid + ask else Fraction(0) for bid, ask in volumes]
    parts = sum(round(float(share) * IMBALANCE_PARTS) for share in shares)
    return {
        "mid_open": mids[0] if mids else None,
        "mid_high": max(mids, default=None),
        "mid_low": min(mids, default=None),
        "mid_close": mids[-1] if mids else None,
        "spread_min": min(spreads, default=None),
        "spread_max": max(spreads, default=None),
        "spread_mean": mean(spreads),
        "bid_volume_mean": mean([bid for bid, _ in volumes]),
        "ask_volume_mean": mean([ask for _, ask in volumes]),
        "imbalance_mean": Fraction(parts, len(books) * IMBALANCE_PARTS),
        "book_count": len(books),
        "quoted_count": len(quoted),
    }


def by_price(books: list[OrderBook], length: Timeframe, width: Fraction) -> list[tuple[Any, ...]]:
    """Return (time, side, price, mean size, last size, number of books) by time, side and price."""
    found = []
    for ts, group in buckets(books, length):
        for side in ("bid", "ask"):
            totals: dict[Fraction, Fraction] = defaultdict(Fraction)
            last: dict[Fraction, Fraction] = defaultdict(Fraction)
            for book in group:
                for price, size in levels(book, side):
                    totals[price // width * width] += size
                    last[price // width * width] += size if book is group[-1] else 0
            found += [(ts, side, p, totals[p] / len(group), last[p], len(group)) for p in sorted(totals)]
    return found


def as_floats(values: Any) -> Any:
    """Return exact values as the nearest floats; None as NaN."""
    return np.array([np.nan if value is None else float(value) for value in values])
