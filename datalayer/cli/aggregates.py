"""`datalayer aggregates`: late rows that the aggregates do not show yet, and refreshing them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from datalayer.cli.database import database_settings
from datalayer.cli.progress import progress_bar
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.ingestion import cancelled_by_signals
from datalayer.repositories.dirty_ranges import DirtyRangeRepository, DirtySpan
from datalayer.repositories.refresh_report import RefreshProgress, RefreshReport
from datalayer.repositories.refresher import AggregateRefresher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import Progress

app = typer.Typer(
    no_args_is_help=True,
    help="Late rows that the aggregates do not show yet: list them, and bring the aggregates up to date.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 something stays dirty, or another refresher is at work.",
)

NOT_DONE: Final = 3
_UNCUT_WIDTH: Final = 200  # one line a range, for people and for grep


@app.command()
def dirty() -> None:
    """List the ranges that are to be refreshed. Until they are, the aggregates may be wrong there."""
    table = Table("rows of", "from (UTC)", "to (UTC)", "recorded (UTC)", box=None)
    for span in asyncio.run(_dirty(database_settings())):
        table.add_row(span.family, _text(span.start), _text(span.end), _text(span.recorded_at))
    Console(width=_UNCUT_WIDTH).print(table)


@app.command()
def refresh(
    *,
    every: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Stay, and refresh again after so many seconds. Ctrl-C or SIGTERM ends it."
        ),
    ] = None,
    audit: Annotated[
        bool, typer.Option(help="Look first for what nobody recorded and no policy will ever refresh.")
    ] = True,
) -> None:
    """Bring the aggregates up to date where late rows were written, from the bottom up, a day at a time.

    It may be interrupted at any moment, and goes on where it was. What the source has lost, to retention say, is kept in
    the aggregates and named here.
    """
    settings = database_settings()
    if every is not None:
        with suppress(asyncio.CancelledError):
            asyncio.run(_serve(settings, every))
        return
    report = asyncio.run(_refresh(settings, audit=audit))
    for line in _told(report):
        typer.echo(line)
    if report.is_busy or report.unfinished:
        raise typer.Exit(NOT_DONE)


async def _dirty(settings: Settings) -> list[DirtySpan]:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return await DirtyRangeRepository(conn).list_spans()


async def _refresh(settings: Settings, *, audit: bool) -> RefreshReport:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        with progress_bar() as bar:
            return await AggregateRefresher(database.engine, on_progress=_Shown(bar)).run(audit=audit)


async def _serve(settings: Settings, interval_s: float) -> None:
    with cancelled_by_signals():
        async with DatabaseConnectionManager(settings.for_maintenance()) as database:
            refresher = AggregateRefresher(database.engine, on_progress=lambda step: typer.echo(_step(step)))
            await refresher.serve(interval_s=interval_s)


class _Shown:
    """A bar over the summed length of all ranges, as long as the longest that was still to do."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)
        self._total = timedelta(0)

    def __call__(self, step: RefreshProgress) -> None:
        self._total = max(self._total, step.remaining)
        done = (self._total - step.remaining).total_seconds()
        self._bar.update(
            self._task, description=_step(step), total=self._total.total_seconds(), completed=done
        )


def _step(step: RefreshProgress) -> str:
    return f"{step.aggregate or step.family} {_text(step.start)} to {_text(step.end)}"


def _told(report: RefreshReport) -> Iterable[str]:
    if report.is_busy:
        yield "another refresher is at work; nothing was done"
        return
    for family, start, end in report.missed:
        yield f"found, recorded by nobody: {family} {_text(start)} to {_text(end)}"
    for left in report.left_alone:
        yield f"left alone: {left.aggregate} {_text(left.start)} to {_text(left.end)} ({left.reason})"
    for span in report.unfinished:
        yield f"still dirty: {span.family} {_text(span.start)} to {_text(span.end)}"
    yield f"{report.cleared:,} ranges refreshed in {report.steps:,} steps"


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
