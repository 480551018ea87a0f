"""`datalayer metrics`: what a database tells Prometheus."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from datalayer.cli.database import database_settings
from datalayer.config import Settings, redact
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import InvalidInputError
from datalayer.ingestion import cancelled_by_signals
from datalayer.monitoring import DatabaseWatch

Symbols = Annotated[
    list[str] | None,
    typer.Option(
        "--symbol", help="Only of these symbols; may be repeated. Default: all that are registered."
    ),
]
Disks = Annotated[
    list[str] | None,
    typer.Option(
        "--disk", help="Tell how full the disk of a folder is; may be repeated.", metavar="NAME=FOLDER"
    ),
]


def metrics(
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine reaches the default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 9464,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks at the database.")] = 30.0,
    symbol: Symbols = None,
    disk: Disks = None,
) -> None:
    """Serve metrics of the database to Prometheus: storage, compression, jobs, retention, freshness, gaps.

    A process that takes data in serves its own; see `datalayer.monitoring.metrics`. Ctrl-C or SIGTERM ends it.
    """
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(database_settings(), (host, port), every, symbol, named_folders(disk)))


def named_folders(given: list[str] | None) -> dict[str, Path]:
    """Return folders by name, of options such as `data=/var/lib/postgresql`.

    Raises:
        InvalidInputError: one has no name, or is not there.
    """
    found = {}
    for one in given or ():
        name, _, folder = one.partition("=")
        if not (name and folder and Path(folder).is_dir()):
            raise InvalidInputError(
                "disk", one, "give a name and a folder that is there, as in data=/var/lib/postgresql"
            )
        found[name] = Path(folder)
    return found


async def _serve(
    settings: Settings,
    address: tuple[str, int],
    every_s: float,
    symbols: list[str] | None,
    folders: dict[str, Path],
) -> None:
    from datalayer.monitoring.metrics import DatabaseCollector, ServiceMetrics, serve_metrics  # noqa: PLC0415 (an extra)

    served = ServiceMetrics()
    with cancelled_by_signals():
        async with DatabaseConnectionManager(settings) as database:
            watch = DatabaseWatch(database, symbols=symbols, interval_s=every_s)
            served.watch(database=database, folders=folders)
            served.registry.register(DatabaseCollector(watch))
            await watch.look()
            with serve_metrics(served, host=address[0], port=address[1]) as url:
                typer.echo(f"metrics of {redact(settings.require_url())} at {url}")
                await watch.run()
