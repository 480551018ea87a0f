"""The demo's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from datalayer.demo.findings import CHECKED_COLUMNS, Check, LatestCandle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datalayer.demo.loading import Loaded
    from datalayer.timescale import CompressionStatistics


def loaded_table(loaded: Sequence[Loaded]) -> Table:
    """Return rows written and time taken."""
    table = _table("stored", "rows", "inserted", "unchanged", "seconds", "rows/s")
    for part in loaded:
        counts = part.counts
        numbers = (part.rows, counts.inserted + counts.updated, counts.unchanged)
        speed = f"{part.rows / part.seconds:,.0f}" if part.seconds else ""
        table.add_row(part.kind, *(f"{number:,}" for number in numbers), f"{part.seconds:.2f}", speed)
    return table


def latest_table(latest: Sequence[LatestCandle]) -> Table:
    """Return the last closed candle of each timeframe."""
    table = _table("", "opened (UTC)", "open", "high", "low", "close", "volume", "source")
    for found in latest:
        candle = found.candle.iloc[0]
        prices = [f"{candle[name]:.2f}" for name in ("open", "high", "low", "close")]
        opened = f"{found.candle.index[0]:%m-%d %H:%M:%S}"
        table.add_row(found.timeframe.label, opened, *prices, f"{candle['volume']:.2f}", found.source)
    return table


def check_table(check: Check) -> Table:
    """Return one row a minute; below a value that differs is the exchange's."""
    table = _table("minute", "open", "high", "low", "close", "volume", "trades", "")
    all_equal = check.equal
    for row, moment in enumerate(pd.DatetimeIndex(check.official.index)):
        equal, ours, theirs = (part.iloc[row] for part in (all_equal, check.rolled_up, check.official))
        cells = [_compared(name, ours, theirs, same=bool(equal[name])) for name in CHECKED_COLUMNS]
        table.add_row(f"{moment:%H:%M}", *cells, Text("=", "green") if equal.all() else Text("≠", "bold red"))
    return table


def verdict(check: Check) -> Text:
    """Return the outcome of the check in one sentence."""
    values, wrong = check.equal.size, int((~check.equal).to_numpy().sum())
    if check.passed:
        return Text(
            f"PASSED: all {values} values of {len(check.official)} minutes equal the exchange's, to the last digit.",
            "bold green",
        )
    return Text(f"FAILED: {wrong} of {values} values differ from the exchange's.", "bold red")


def compression_table(results: Mapping[str, CompressionStatistics]) -> Table:
    """Return what compression saved, by table."""
    table = _table("table", "chunks", "before", "after", "saved")
    for name, result in results.items():
        sizes = (f"{size / 1024:,.0f} kB" for size in (result.bytes_before, result.bytes_after))
        table.add_row(name, str(result.chunks), *sizes, f"{result.saved:.0%}")
    return table


def _compared(name: str, ours: pd.Series, theirs: pd.Series, *, same: bool) -> Text:
    if same:
        return Text(_shown(name, ours[name]))
    return Text(f"{_shown(name, ours[name])}\n≠ {_shown(name, theirs[name])}", "bold red")


def _shown(name: str, value: object) -> str:
    digits = {"trade_count": 0, "volume": 5}.get(name, 2)
    return "none" if value != value or value is None else f"{value:,.{digits}f}"  # noqa: PLR0124 - NaN


def _table(*columns: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1, 0, 0)
    )
    for number, column in enumerate(columns):
        table.add_column(
            column, justify="left" if number == 0 or column == "source" else "right", no_wrap=True
        )
    return table
