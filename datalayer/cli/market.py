"""`datalayer candles|trades|book|inference`: market data of a symbol, on the terminal or in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import typer

from datalayer import sync
from datalayer.cli import market_tables as tables
from datalayer.cli.market_arguments import (
    AsOf,
    At,
    End,
    Limit,
    Start,
    Symbol,
    indicator,
    last_rows,
    moment,
)
from datalayer.cli.market_output import AsJson, Output, ParquetFile, PlotFile, records, write_parquet
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datalayer.domain.order_book_frame import OrderBookDataFrame

Length = Annotated[
    str, typer.Argument(metavar="TIMEFRAME", help=", ".join(timeframe.label for timeframe in Timeframe))
]


def candles(
    symbol: Symbol,
    timeframe: Length = "1m",
    *,
    start: Start = None,
    end: End = None,
    limit: Limit = None,
    as_of: AsOf = None,
    forming: Annotated[
        bool, typer.Option("--forming", help="Add the candle that is not closed yet, marked.")
    ] = False,
    as_json: AsJson = False,
    parquet: ParquetFile = None,
    plot: PlotFile = None,
) -> None:
    """Show candles, by their open times. Those that are not stored are made from shorter ones, which `source` tells."""
    output, length = Output(as_json, parquet, plot), Timeframe.parse(timeframe)
    with sync.connect() as market:
        frames = market.get_multi_timeframe_data(
            symbol,
            [length],
            moment(start, "start"),
            moment(end, "end"),
            last_rows(start, limit),
            align=False,
            as_of=moment(as_of, "as_of"),
            include_forming=forming,
        )
    (frame,) = frames.values()
    facts = {"symbol": frame.attrs["symbol"], "timeframe": length.label}
    facts["as_of"] = frame.attrs["as_of"].isoformat()

    def draw(path: Path) -> None:
        from datalayer.charts.candles import save_candles  # noqa: PLC0415 - an extra

        save_candles(path, facts["symbol"], length, frame)

    output.give(
        tables=lambda: [tables.candle_table(frame)],
        document=lambda: {**facts, "candles": records(frame)},
        parquet=lambda path: write_parquet(path, frame, **facts),
        plot=draw,
    )


def trades(
    symbol: Symbol,
    *,
    start: Start = None,
    end: End = None,
    limit: Limit = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
    parquet: ParquetFile = None,
    plot: PlotFile = None,
) -> None:
    """Show trades, by their times."""
    output, name = Output(as_json, parquet, plot), canonical_symbol(symbol)
    with sync.connect() as market:
        frame = market.get_trades(
            symbol,
            moment(start, "start"),
            moment(end, "end"),
            last_rows(start, limit),
            as_of=moment(as_of, "as_of"),
        )

    def draw(path: Path) -> None:
        from datalayer.charts.trades import save_trades  # noqa: PLC0415 - an extra

        save_trades(path, name, frame)

    output.give(
        tables=lambda: [tables.trade_table(frame)],
        document=lambda: {"symbol": name, "trades": records(frame)},
        parquet=lambda path: write_parquet(path, frame, symbol=name),
        plot=draw,
    )


def book(
    symbol: Symbol,
    *,
    at: At = None,
    aggregation: Annotated[
        Literal["raw", "1s", "1m"], typer.Option(help="Each book, or the last of each second or minute.")
    ] = "raw",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="The last so many, a row each. Default: the last one, by levels."),
    ] = None,
    levels: Annotated[int, typer.Option(min=1, help="Levels of each side in the table.")] = 10,
    as_json: AsJson = False,
    parquet: ParquetFile = None,
    plot: PlotFile = None,
) -> None:
    """Show the last order book of a moment with its imbalances, or the last so many.

    JSON is what `OrderBookDataFrame.from_json` reads, with --limit a list of them; Parquet has a row a level.
    """
    output = Output(as_json, parquet, plot)
    with sync.connect() as market:
        books = market.get_order_book_data(symbol, moment(at, "at"), aggregation, limit=limit or 1)

    def draw(path: Path) -> None:
        from datalayer.charts.order_book import save_order_books  # noqa: PLC0415 - an extra

        save_order_books(path, books)

    def shown() -> list[Any]:
        return tables.book_tables(books[-1], levels) if limit is None else [tables.books_table(books)]

    output.give(
        tables=shown,
        document=lambda: books[-1].to_dict() if limit is None else [one.to_dict() for one in books],
        parquet=lambda path: write_parquet(path, _levels(books), symbol=books[-1].symbol),
        plot=draw,
    )


def inference(
    symbol: Symbol,
    *,
    at: At = None,
    timeframe: Annotated[
        list[str] | None, typer.Option("--timeframe", "-t", help="Repeat it for several. Default: all.")
    ] = None,
    rows: Annotated[int, typer.Option("--candles", min=1, help="Candles of each timeframe.")] = 100,
    context: Annotated[float, typer.Option(help="Minutes before and after the moment, given apart.")] = 5.0,
    indicators: Annotated[
        list[str] | None,
        typer.Option("--indicator", "-i", help="ema:20, rsi, macd:12,26,9 and so on; repeat it for several."),
    ] = None,
    as_json: AsJson = False,
    parquet: ParquetFile = None,
    plot: PlotFile = None,
) -> None:
    """Show all that is known of a symbol at a moment: what a model is given.

    JSON and Parquet are what `InferenceDataFrame.from_json` and `from_parquet` read.

    A picture shows the candles of the first --timeframe (1m), and paler those that came after the moment.
    """
    output, drawn = Output(as_json, parquet, plot), Timeframe.parse(timeframe[0] if timeframe else "1m")
    with sync.connect() as market:
        frame = market.get_inference_data(
            symbol,
            moment(at, "at"),
            context,
            timeframes=timeframe or None,
            candles=rows,
            indicators=[indicator(text) for text in indicators or ()],
        )

    def draw(path: Path) -> None:
        from datalayer.charts.inference import save_inference  # noqa: PLC0415 - an extra

        if drawn not in frame.candles or frame.candles[drawn].empty:
            raise InvalidInputError(
                "plot", str(path), f"there is no {drawn.label} candle to draw; use -t with another"
            )
        save_inference(path, frame, drawn)

    output.give(
        tables=lambda: tables.inference_tables(frame),
        document=frame.to_dict,
        parquet=lambda path: _write_bytes(path, frame.to_parquet()),
        plot=draw,
    )


def _levels(books: Sequence[OrderBookDataFrame]) -> pd.DataFrame:
    """Return the levels of all books: timestamp, side (bid, ask), level (0 is the best), price, size, cumulative_size."""
    levels = pd.concat({one.timestamp: one.to_pandas() for one in books}, names=["timestamp"])
    return levels.reset_index()


def _write_bytes(path: Path, data: bytes) -> None:
    with whole_file(path) as file:
        file.write(data)
