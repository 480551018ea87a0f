"""`datalayer coverage`: what is stored of a symbol, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer

from datalayer import sync
from datalayer.cli import market_tables as tables
from datalayer.cli.market_arguments import AsOf, End, Start, Symbol, moment
from datalayer.cli.market_output import AsJson, Output, ParquetFile, PlotFile, records, write_parquet
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError, NoDataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from rich.console import RenderableType

    from datalayer.domain.coverage import CoverageReport, StoredRange
    from datalayer.domain.feed_gap import FeedGap

MISSING = 3


def coverage(
    symbol: Symbol,
    timeframe: Annotated[
        str | None,
        typer.Argument(help="Look for missing candles of it. Default: only tell what is stored."),
    ] = None,
    *,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    most: Annotated[int, typer.Option(min=1, help="Missing intervals in the table.")] = 20,
    as_json: AsJson = False,
    parquet: ParquetFile = None,
    plot: PlotFile = None,
) -> None:
    """Show what is stored of a symbol, or which candles of a timeframe are missing: exit code 3 if any are.

    Holes that live feeds know of, and that are not filled, are listed too.

    Without --start and --end it looks from the first stored candle to the last.

    A picture shows the stored timeframes, or the one that is named.
    """
    output, known_at = Output(as_json, parquet, plot), moment(as_of, "as_of")
    first, last = moment(start, "start"), moment(end, "end")
    if timeframe is None and (first or last):
        raise InvalidInputError("timeframe", timeframe, "--start and --end are of one; name it, as in 1m")
    with sync.connect() as market:
        stored = market.list_stored_ranges([symbol], as_of=known_at, count_rows=timeframe is None)
        if not stored:
            raise NoDataError(canonical_symbol(symbol), "data", ())
        if timeframe is not None:
            wanted = [Timeframe.parse(timeframe)]
        else:
            wanted = [Timeframe(one.timeframe) for one in stored if one.timeframe and plot is not None]
        gaps = market.list_feed_gaps([symbol]) if timeframe is None else []
        reports = [
            market.get_coverage(symbol, length, *_range(stored, length, first, last), as_of=known_at)
            for length in wanted
        ]
    if timeframe is None:
        _give_stored(output, stored, gaps, reports)
        return
    _give_report(output, reports[0], most)
    if reports[0].missing:
        raise typer.Exit(MISSING)


def _range(
    stored: Sequence[StoredRange], length: Timeframe, start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime]:
    """Return what to look at: what is given, else from the first stored candle of this length to the last, else of any."""
    candles = [one for one in stored if one.timeframe is not None]
    own = [one for one in candles if one.timeframe == length] or candles
    if not own and (start is None or end is None):
        hint = "no candles are stored to take the range from; give --start and --end"
        raise InvalidInputError("start", start, hint)
    first = start or min(one.first for one in own)
    last = end or max(one.last + Timeframe(one.timeframe).length for one in own if one.timeframe)
    return first, last


def _give_stored(
    output: Output, stored: list[StoredRange], gaps: list[FeedGap], reports: list[CoverageReport]
) -> None:
    rows = [
        {
            "kind": one.kind,
            "timeframe": None if one.timeframe is None else Timeframe(one.timeframe).label,
            "first": one.first,
            "last": one.last,
            "rows": one.rows,
        }
        for one in stored
    ]
    frame, symbol = pd.DataFrame(rows).set_index("kind"), stored[0].symbol

    holes: list[RenderableType] = ["", tables.feed_gap_table(gaps)] if gaps else []

    def draw(path: Path) -> None:
        from datalayer.charts.coverage import save_coverage  # noqa: PLC0415 - an extra

        if not reports:
            raise InvalidInputError("plot", str(path), "no candles are stored, so there is nothing to draw")
        save_coverage(path, reports)

    output.give(
        tables=lambda: [tables.stored_table(stored), *holes],
        document=lambda: {"symbol": symbol, "stored": records(frame), "feed_gaps": _gap_records(gaps)},
        parquet=lambda path: write_parquet(path, frame, symbol=symbol),
        plot=draw,
    )


def _give_report(output: Output, report: CoverageReport, most: int) -> None:
    facts = {"symbol": report.symbol, "timeframe": report.timeframe.label}
    times = {name: getattr(report, name).isoformat() for name in ("start", "end", "as_of")}
    counts = {name: getattr(report, name) for name in ("expected", "traded", "silent", "missing")}
    intervals = report.intervals.set_index("start")

    def draw(path: Path) -> None:
        from datalayer.charts.coverage import save_coverage  # noqa: PLC0415 - an extra

        save_coverage(path, [report])

    output.give(
        tables=lambda: tables.coverage_tables(report, most),
        document=lambda: {
            **facts,
            **times,
            **counts,
            "intervals": records(intervals),
            "feed_gaps": _gap_records(report.feed_gaps),
        },
        parquet=lambda path: write_parquet(path, intervals, **facts, **times),
        plot=draw,
    )


def _gap_records(gaps: Sequence[FeedGap]) -> list[dict[str, Any]]:
    return [
        {name: getattr(gap, name) for name in ("kind", "cause", "state", "missing", "filled", "source")}
        | {"timeframe": None if gap.timeframe is None else gap.timeframe.label}
        | {"start": gap.start.isoformat(), "end": gap.end.isoformat()}
        for gap in gaps
    ]
