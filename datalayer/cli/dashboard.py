"""`datalayer dashboard`: a read-only web page about the database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

import typer

from datalayer.cli.database import database_settings
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.ingestion import cancelled_by_signals


def dashboard(
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine reaches the default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8060,
    metrics: Annotated[
        str | None, typer.Option(help="Address of a service's metrics, as in http://127.0.0.1:9464/metrics.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Further name by which it may be reached, as through a proxy; may be repeated."),
    ] = None,
) -> None:
    """Serve a read-only web page: candles, coverage with gaps, rows a second, latencies, storage growth. Ctrl-C ends it."""
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(database_settings(), (host, port), metrics, name or []))


async def _serve(settings: Settings, address: tuple[str, int], metrics: str | None, names: list[str]) -> None:
    from datalayer.monitoring.dashboard import serve_dashboard  # noqa: PLC0415 (an extra)

    with cancelled_by_signals():
        async with (
            DatabaseConnectionManager(settings) as database,
            serve_dashboard(database, host=address[0], port=address[1], metrics=metrics, names=names) as url,
        ):
            typer.echo(f"dashboard at {url}")
            await asyncio.Event().wait()
