"""`datalayer demo`: real market data through the whole library, to look at."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from datalayer.config import Settings
from datalayer.demo.database import demo_settings
from datalayer.demo.run import remove_demo, run_demo


def demo(
    *,
    path: Annotated[
        Path | None,
        typer.Option(
            "--path",
            help="Keep the embedded database in this folder. Default: the server that "
            "DATALAYER_DATABASE_URL names, else an embedded database in memory.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("demo-output"),
    drop: Annotated[
        bool, typer.Option("--drop", help="Only remove what an earlier run left in the database.")
    ] = False,
) -> None:
    """Load a real month of BTC/USDT and a WebSocket recording, check the result, draw it.

    On a server the data goes to a schema of its own, datalayer_demo, and stays there until --drop. May be repeated.
    Ends with exit code 1 if the database's candles are not exactly the exchange's.
    """
    settings = demo_settings(Settings.load(), path)
    console = Console()
    if drop:
        asyncio.run(remove_demo(settings, console))
    elif not asyncio.run(run_demo(settings, output, console)):
        raise typer.Exit(code=1)
