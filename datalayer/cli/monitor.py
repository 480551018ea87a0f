"""`datalayer monitor`: a live view of the database, and of a service that serves its metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from datalayer.cli.database import database_settings
from datalayer.cli.metrics import Symbols
from datalayer.cli.monitor_tables import service_table, storage_line, watched_series
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.ingestion import cancelled_by_signals
from datalayer.monitoring import DatabaseWatch, Verdict, diagnose
from datalayer.monitoring.endpoint import Reading, read_endpoint

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES: Final = {Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}


def monitor(
    *,
    metrics: Annotated[
        str | None, typer.Option(help="Address of a service's metrics, as in http://127.0.0.1:9464/metrics.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 5.0,
    symbol: Symbols = None,
) -> None:
    """Watch the database live: freshness, gaps, storage, what is wrong; and a service's throughput and latencies. Ctrl-C ends it."""
    with suppress(asyncio.CancelledError):
        asyncio.run(_watch(database_settings(), metrics, every, symbol))


async def _watch(settings: Settings, address: str | None, every_s: float, symbols: list[str] | None) -> None:
    with cancelled_by_signals():
        async with DatabaseConnectionManager(settings) as database:
            watch, service = DatabaseWatch(database, symbols=symbols), Service(address)
            with Live(console=Console(), screen=True, auto_refresh=False) as live:
                while True:
                    await asyncio.gather(watch.look(), service.look())
                    live.update(screen(watch, service), refresh=True)
                    await asyncio.sleep(every_s)


class Service:
    """The last two readings of a service.

    Args:
        address: of its metrics; None: there is none.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.before: Reading | None = None
        self.after: Reading | None = None
        self.failure: str | None = None

    async def look(self) -> None:
        """Read once."""
        if self.address is None:
            return
        try:
            found = await asyncio.to_thread(read_endpoint, self.address)
        except OSError as exc:
            self.before = self.after = None
            self.failure = str(exc)
        else:
            self.before, self.after, self.failure = self.after, found, None


def screen(watch: DatabaseWatch, service: Service) -> RenderableType:
    """Return what is shown."""
    parts: list[RenderableType] = []
    state = watch.state
    if state is None:
        parts.append(Text(f"the database does not answer: {watch.failure}", style="red"))
    else:
        parts += [storage_line(state), "", watched_series(state), ""]
        parts += [
            Text(f"{one.check}: {one.found}", style=_STYLES[one.verdict], no_wrap=True, overflow="ellipsis")
            for one in diagnose(state)
            if one.verdict is not Verdict.OK
        ] or [Text("all is well", style="green")]
    if service.failure is not None:
        parts += ["", Text(f"{service.address} does not answer: {service.failure}", style="red")]
    elif service.after is not None:
        parts += ["", service_table(service.before or service.after, service.after)]
    return Group(*parts)
