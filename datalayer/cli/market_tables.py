"""Answers as tables for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from rich.table import Table

from datalayer.domain.steps import infer_scale
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from datalayer.domain.coverage import CoverageReport, StoredRange
    from datalayer.domain.feed_gap import FeedGap
    from datalayer.domain.inference_frame import InferenceDataFrame
    from datalayer.domain.order_book_frame import OrderBookDataFrame

_PRICES: Final = ("open", "high", "low", "close")
_SIDES: Final = {1: "buy", -1: "sell", 0: "-"}
_TEXTS: Final = ("side", "state", "source", "series", "timeframe", "imbalance", "indicators")
_WINDOWS: Final = ("1s", "5s", "15s", "60s")


def candle_table(candles: pd.DataFrame) -> Table:
    """Return candles, a row each."""
    table = _table("open (UTC)", *_PRICES, "volume", "trades", "state", "source")
    digits, volume_digits = infer_scale(candles[list(_PRICES)]), infer_scale(candles["volume"])
    forming = candles.get("is_forming")
    for place, row in enumerate(_rows(candles)):
        prices = (_number(getattr(row, name), digits) for name in _PRICES)
        state = "forming" if forming is not None and forming.iloc[place] else "closed"
        count = "-" if pd.isna(row.trade_count) else f"{row.trade_count:,}"
        table.add_row(
            _time(row.Index), *prices, _number(row.volume, volume_digits), count, state, str(row.source)
        )
    return table


def trade_table(trades: pd.DataFrame) -> Table:
    """Return trades, a row each."""
    table = _table("time (UTC)", "id", "price", "size", "side")
    digits = infer_scale(trades["price"]), infer_scale(trades["size"])
    for row in _rows(trades):
        values = (_number(value, places) for value, places in zip((row.price, row.size), digits, strict=True))
        table.add_row(_time(row.Index), str(row.trade_id), *values, _SIDES[row.side])
    return table


def book_tables(book: OrderBookDataFrame, levels: int) -> list[RenderableType]:
    """Return the best levels of both sides, and what follows from them."""
    ladder = _table("bids", "size", "price", "price", "size", "asks")
    sides = [book.bids.head(levels), book.asks.head(levels)]
    price, size = (max(infer_scale(side[name]) for side in sides) for name in ("price", "size"))
    digits = price, size, size
    for place in range(max(map(len, sides))):
        price_bid, size_bid, sum_bid = _level(sides[0], place, digits)
        ladder.add_row(sum_bid, size_bid, price_bid, *_level(sides[1], place, digits))
    head = f"{book.symbol}   {_time(book.timestamp)} UTC   {book.aggregation}"
    facts = f"spread {book.spread:,.6g}   mid {book.mid:,.10g}   micro price {book.micro_price:,.10g}"
    return [head, facts, "", ladder, "", imbalance_table(book.imbalances)]


def books_table(books: Sequence[OrderBookDataFrame]) -> Table:
    """Return order books, a row each."""
    table = _table("time (UTC)", "bid", "ask", "spread", "bid volume", "ask volume", "book 1s", "volume 1s")
    for book in books:
        prices = (f"{value:,.10g}" for value in (book.best_bid, book.best_ask))
        volumes = (f"{value:,.5f}" for value in (book.bid_volume, book.ask_volume))
        shares = (_share(book.imbalances[f"{kind}_imbalance_1s"]) for kind in ("book", "volume"))
        table.add_row(_time(book.timestamp), *prices, f"{book.spread:,.6g}", *volumes, *shares)
    return table


def imbalance_table(imbalances: Any) -> Table:
    """Return the imbalances by window; `-`: not known."""
    table = _table("imbalance", *_WINDOWS)
    for kind in ("book", "volume"):
        table.add_row(kind, *(_share(imbalances[f"{kind}_imbalance_{window}"]) for window in _WINDOWS))
    return table


def inference_tables(frame: InferenceDataFrame) -> list[RenderableType]:
    """Return the newest candle of each timeframe with its indicators, the book, and how far all of it can be trusted."""
    head = f"{frame.symbol} at {_time(frame.timestamp)} UTC"
    known = "" if frame.as_of == frame.timestamp else f", as known at {_time(frame.as_of)} UTC"
    tables: list[RenderableType] = [head + known, "", _newest_table(frame)]
    if any(len(values.columns) for values in frame.indicators.values()):
        tables += ["", _indicator_table(frame)]
    if frame.order_book is not None:
        book, age_s = frame.order_book, frame.quality.staleness_s["order_book"]
        line = f"order book, {age_s:g} s old: bid {book.best_bid:,.10g}, ask {book.best_ask:,.10g}, spread {book.spread:,.6g}"
        tables += ["", line]
    tables += ["", imbalance_table(frame.imbalances)]
    for name, told in (("before", frame.context_before), ("after", frame.context_after)):
        counts = ", ".join(f"{len(table)} x {length.label}" for length, table in told.items() if len(table))
        if counts:
            tables.append(f"context {name}: {counts}")
    if frame.quality.stale:
        tables.append(f"stale, or not there: {', '.join(sorted(frame.quality.stale))}")
    return tables


def stored_table(ranges: Iterable[StoredRange]) -> Table:
    """Return what is stored from when to when, a row a series."""
    table = _table("series", "timeframe", "first (UTC)", "last (UTC)", "rows")
    for one in ranges:
        label = "-" if one.timeframe is None else Timeframe(one.timeframe).label
        rows = "-" if one.rows is None else f"{one.rows:,}"
        table.add_row(one.kind.replace("_", " "), label, _time(one.first), _time(one.last), rows)
    return table


def coverage_tables(report: CoverageReport, most: int) -> list[RenderableType]:
    """Return the counts of a range, and the first so many intervals that are missing."""
    counts = _table("timeframe", "from (UTC)", "to (UTC)", "candles", "traded", "silent", "missing")
    values = (report.expected, report.traded, report.silent, report.missing)
    span = (_time(report.start), _time(report.end))
    counts.add_row(report.timeframe.label, *span, *(f"{value:,}" for value in values))
    gaps: list[RenderableType] = ["", feed_gap_table(report.feed_gaps[:most])] if report.feed_gaps else []
    missing = report.intervals[report.intervals["state"] == "missing"]
    if missing.empty:
        return [counts, *gaps]
    table = _table("missing from (UTC)", "to (UTC)", "candles")
    for row in _rows(missing.head(most)):
        table.add_row(_time(row.start), _time(row.end), f"{row.candles:,}")
    more = [f"and {len(missing) - most:,} more intervals; --json has all"] if len(missing) > most else []
    return [counts, "", table, *more, *gaps]


def feed_gap_table(gaps: Iterable[FeedGap]) -> Table:
    """Return holes that live feeds know of, a row each."""
    table = _table(
        "hole of a feed in", "timeframe", "from (UTC)", "to (UTC)", "missing", "filled", "state", "cause"
    )
    for gap in gaps:
        label = "-" if gap.timeframe is None else gap.timeframe.label
        missing = "-" if gap.missing is None else f"{gap.missing:,}"
        span = _time(gap.start), _time(gap.end)
        table.add_row(
            gap.kind.replace("_", " "), label, *span, missing, f"{gap.filled:,}", gap.state, gap.cause
        )
    return table


def _newest_table(frame: InferenceDataFrame) -> Table:
    table = _table(
        "timeframe", "rows", "newest (UTC)", *_PRICES, "volume", "state", "age (s)", "missing", "source"
    )
    for timeframe, candles in frame.candles.items():
        part, missing = f"candles.{timeframe.label}", frame.quality.missing_candles.get(timeframe, 0)
        source = frame.sources.get(part, "-")
        if candles.empty:
            table.add_row(timeframe.label, "0", *["-"] * 7, "-", f"{missing:,}", source)
            continue
        last, state = candles.iloc[-1], "forming" if timeframe in frame.quality.forming else "closed"
        numbers = (f"{last[name]:,.10g}" for name in (*_PRICES, "volume"))
        age = f"{frame.quality.staleness_s[part]:g}"
        rows = (f"{len(candles):,}", _time(candles.index[-1]), *numbers, state, age, f"{missing:,}", source)
        table.add_row(timeframe.label, *rows)
    return table


def _indicator_table(frame: InferenceDataFrame) -> Table:
    columns = list(next(iter(frame.indicators.values())).columns)
    table = _table("indicators", *columns)
    for timeframe, values in frame.indicators.items():
        last = values[columns].iloc[-1].tolist() if len(values) else [math.nan] * len(columns)
        table.add_row(timeframe.label, *map(_known, last))
    return table


def _level(side: pd.DataFrame, place: int, digits: Sequence[int]) -> tuple[str, ...]:
    if place >= len(side):
        return ("", "", "")
    return tuple(_number(value, places) for value, places in zip(side.iloc[place], digits, strict=True))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        is_text = column in _TEXTS or column.endswith("(UTC)")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    return table


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    return frame.itertuples()


def _time(moment: datetime) -> str:
    text = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    return text.removesuffix("000").removesuffix(".000")


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _known(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.8g}"
