"""The demo from its beginning to its end."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Final

from rich.text import Text

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.db.migrations import upgrade_engine
from datalayer.demo import findings, loading, report, samples
from datalayer.demo.database import claim_schema, describe_place, drop_schema, removal_hint
from datalayer.demo.steps import Steps
from datalayer.demo.terminal_chart import MIN_WIDTH, candle_chart, depth_ladder
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.messages import parse_capture_line
from datalayer.integrations.binance.replay import StreamReplay, book_columns
from datalayer.integrations.fields import E8
from datalayer.integrations.tick_aggregation import aggregate_trades, candle_frame, trade_frame
from datalayer.repositories import AggregateRefresher
from datalayer.timescale import CompressionStatistics, compress_chunks

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import pandas as pd
    from rich.console import Console
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.config import Settings
    from datalayer.domain.order_book import OrderBookColumns

CHART_FILE: Final = "btc_usdt.png"

_REPLAY_BATCH: Final = 500
_COMPRESSED: Final = ("candles", "trades", "order_books")


@dataclass(frozen=True, slots=True, eq=False)
class _Replayed:
    """What the recording amounts to."""

    trades: pd.DataFrame
    seconds: pd.DataFrame
    books: OrderBookColumns

    @property
    def end(self) -> datetime:
        """When the last recorded second was over."""
        last: pd.Timestamp = self.seconds.index[-1]
        return last.to_pydatetime() + Timeframe.S1.length


@dataclass(slots=True)
class _Outcome:
    loaded: list[loading.Loaded] = field(default_factory=list)
    compression: dict[str, CompressionStatistics] = field(default_factory=dict)


async def run_demo(settings: Settings, output: Path, console: Console) -> bool:
    """Load real market data, show it, and check the database's candles against the exchange's.

    May be repeated on the same database: nothing is stored twice.

    Args:
        settings: as `demo_settings` returns them.
        output: folder for the picture; created if absent.
        console: where everything is shown.

    Returns:
        True if every checked value equals the exchange's.

    Raises:
        ConfigurationError: the demo's schema belongs to somebody else.
        InvalidInputError: `output` cannot be a folder.
        DatabaseError: the server refuses or is gone.
        EmbeddedError: the embedded database cannot be started.
    """
    _make_folder(output)
    console.print(f"[bold]Database:[/bold] {describe_place(settings)}", highlight=False)
    began = perf_counter()
    async with AsyncExitStack() as stack:
        with Steps(console) as steps:
            with steps.step("Open the database") as step:
                database = DatabaseConnectionManager(settings, on_progress=step.say)
                await stack.enter_async_context(database)
            with driver_errors_translated():
                replayed, outcome = await _load(database.engine, settings, steps)
        passed = await _show(database.engine, replayed, outcome, output, console)
    console.print(
        f"All of it took {perf_counter() - began:.1f} s; check {'passed' if passed else 'FAILED'}.",
        highlight=False,
    )
    if hint := removal_hint(settings):
        console.print(hint, style="dim", highlight=False, soft_wrap=True)
    return passed


async def remove_demo(settings: Settings, console: Console) -> None:
    """Remove what earlier runs left in the database.

    Raises:
        ConfigurationError: the demo's schema belongs to somebody else; it stays.
    """
    console.print(f"[bold]Database:[/bold] {describe_place(settings)}", highlight=False)
    async with DatabaseConnectionManager(settings) as database:
        with driver_errors_translated():
            removed = await drop_schema(database.engine)
    console.print("The demo's data is removed." if removed else "There is nothing of the demo to remove.")


async def _load(engine: AsyncEngine, settings: Settings, steps: Steps) -> tuple[_Replayed, _Outcome]:
    with steps.step("Migrate the schema"):
        await claim_schema(engine)
        await upgrade_engine(engine, settings)
    replayed = _replay(steps)
    month = samples.load_month()
    await loading.register_instrument(engine, month, replayed.trades, replayed.books)
    outcome = _Outcome()
    with steps.step("Store a month of 1m candles", len(month)) as step:
        outcome.loaded.append(await loading.load_candles(engine, Timeframe.M1, month, step.advance))
    with steps.step("Store the trades", len(replayed.trades)) as step:
        outcome.loaded.append(await loading.load_trades(engine, replayed.trades, step.advance))
    with steps.step("Store 1s candles built from them", len(replayed.seconds)) as step:
        outcome.loaded.append(
            await loading.load_candles(engine, Timeframe.S1, replayed.seconds, step.advance)
        )
    with steps.step("Store the order books", len(replayed.books)) as step:
        outcome.loaded.append(await loading.load_books(engine, replayed.books, step.advance))
    with steps.step("Refresh the aggregates"):
        await AggregateRefresher(engine).run()
    with steps.step("Compress", len(_COMPRESSED)) as step:
        for relation in _COMPRESSED:
            outcome.compression[relation] = await compress_chunks(engine, relation)
            step.advance(1)
    return replayed, outcome


def _replay(steps: Steps) -> _Replayed:
    lines = samples.load_recording()
    replay = StreamReplay()
    with steps.step("Replay the WebSocket recording", len(lines)) as step:
        for first in range(0, len(lines), _REPLAY_BATCH):
            batch = lines[first : first + _REPLAY_BATCH]
            for line in batch:
                replay.feed(parse_capture_line(line).message)
            step.advance(len(batch))
    trades = replay.trades()
    return _Replayed(
        trades=trade_frame(trades, price_step=E8, size_step=E8),
        seconds=candle_frame(aggregate_trades(trades), price_step=E8, size_step=E8),
        books=book_columns(replay.books),
    )


async def _show(
    engine: AsyncEngine, replayed: _Replayed, outcome: _Outcome, output: Path, console: Console
) -> bool:
    with driver_errors_translated():
        async with engine.connect() as conn:
            versions = await findings.find_versions(conn)
            latest = await findings.list_latest(conn, replayed.end)
            check = await findings.compare_minutes(conn, samples.load_official_minutes())
            candles, book = await findings.chart_candles(conn, replayed.end), await findings.last_book(conn)
    _head(console, f"Stored in {versions}")
    console.print(report.loaded_table(outcome.loaded))
    _head(console, "What compression saves")
    console.print(report.compression_table(outcome.compression))
    _head(console, f"{samples.SYMBOL}: the last closed candles at {replayed.end:%Y-%m-%d %H:%M:%S} UTC")
    console.print(report.latest_table(latest))
    _head(console, "Check: trades, made 1s candles, rolled up to 1m, against the exchange")
    console.print(report.check_table(check))
    console.print(report.verdict(check))
    _draw(console, candles, book, output)
    return check.passed


def _draw(console: Console, candles: pd.DataFrame, book: OrderBookColumns, output: Path) -> None:
    width = max(console.width, MIN_WIDTH)
    _head(console, f"{samples.SYMBOL}, {findings.CHART_TIMEFRAME.label} candles and the last order book")
    console.print(candle_chart(candles, width), depth_ladder(book, width), sep="\n\n")
    if find_spec("matplotlib") is None:
        console.print(
            "\nNo picture: matplotlib is not installed; `pip install matplotlib` brings it.",
            markup=False,
        )
        return
    from datalayer.demo.png_chart import save_png_chart  # noqa: PLC0415 - an extra

    path = output / CHART_FILE
    save_png_chart(path, candles, findings.CHART_TIMEFRAME, book)
    console.print(f"\n[bold]Picture:[/bold] {path.absolute()}", highlight=False, soft_wrap=True)


def _head(console: Console, title: str) -> None:
    console.print()
    console.rule(Text(title, "bold"), align="left", style="dim")


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidInputError("output", str(output), f"no such folder can be made: {exc.strerror}") from exc
