"""`datalayer ingest` as a process of its own, on a local exchange."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from datalayer import Settings
    from tests.exchange_server.binance import BinanceServer


async def started(
    settings: Settings, server: BinanceServer, outbox: Path, *arguments: str
) -> asyncio.subprocess.Process:
    """Start it, with reports as lines of JSON; `arguments` begin with the symbol."""
    addresses = {
        "DATALAYER_DATABASE_URL": settings.require_url().render_as_string(hide_password=False),
        "DATALAYER_BINANCE_SOCKET_URL": server.socket_url,
        "DATALAYER_BINANCE_REST_URL": server.rest_url,
    }
    command = (sys.executable, "-c", "from datalayer.cli import main; main()", "ingest", *arguments)
    return await asyncio.create_subprocess_exec(
        *(*command, "--outbox", str(outbox), "--json", "--report-every-s", "0.2"),
        env=os.environ | addresses,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
