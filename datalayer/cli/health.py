"""`datalayer status` and `datalayer doctor`: what is stored, how the database is, and what to do."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.console import Console

from datalayer.cli.database import database_settings
from datalayer.cli.health_tables import doctor_document, doctor_table, status_document, status_tables
from datalayer.cli.metrics import Disks, Symbols, named_folders
from datalayer.config import Settings
from datalayer.db import migrations
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import DatabaseError
from datalayer.monitoring import DatabaseState, Finding, HealthLimits, Verdict, diagnose, inspect_database
from datalayer.monitoring.checks import drift, unreachable
from datalayer.monitoring.findings import worst

EXIT_CODES: Final = {Verdict.OK: 0, Verdict.WARNING: 3, Verdict.PROBLEM: 4}
EXITS: Final = "Exit codes: 0 all is well, 1 error, 2 wrong usage, 3 warnings, 4 problems."
_UNCUT_WIDTH: Final = 200  # one line a row, for people and for grep

StaleAfter = Annotated[
    float,
    typer.Option(
        min=0, help="Seconds that the newest row of a live series may be old; of candles after their close."
    ),
]
LiveWithin = Annotated[
    float, typer.Option(min=0, help="Days after which a series has ended and is not expected to go on.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def status(
    *,
    symbol: Symbols = None,
    stale_after: StaleAfter = 300.0,
    live_within: LiveWithin = 7.0,
    as_json: AsJson = False,
) -> None:
    """Show what is stored, how the database is, and a verdict; `datalayer doctor` says what to do."""
    state = asyncio.run(_state(database_settings(), symbol))
    found = diagnose(state, _limits(stale_after, live_within))
    if as_json:
        typer.echo(json.dumps(status_document(state, found), indent=2, allow_nan=False))
    else:
        Console(width=_UNCUT_WIDTH, markup=False, highlight=False).print(
            *status_tables(state, found), sep="\n"
        )
    _leave(found)


def doctor(
    *,
    symbol: Symbols = None,
    stale_after: StaleAfter = 300.0,
    live_within: LiveWithin = 7.0,
    disk: Disks = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with the database and the data in it, and say what to do. Changes nothing."""
    settings, folders = database_settings(), named_folders(disk)
    limits = _limits(stale_after, live_within)
    try:
        state = asyncio.run(_state(settings, symbol))
        found = diagnose(state, limits, folders=folders)
        if state.is_current:
            found.insert(2, drift(asyncio.run(migrations.check(settings))))
    except DatabaseError as exc:
        found = [unreachable(str(exc))]
    if as_json:
        typer.echo(json.dumps(doctor_document(found), indent=2))
    else:
        Console(markup=False, highlight=False).print(doctor_table(found))
    _leave(found)


def _limits(stale_after_s: float, live_within_d: float) -> HealthLimits:
    return HealthLimits(
        stale_after=timedelta(seconds=stale_after_s), live_within=timedelta(days=live_within_d)
    )


async def _state(settings: Settings, symbols: list[str] | None) -> DatabaseState:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return await inspect_database(conn, symbols=symbols)


def _leave(found: list[Finding]) -> None:
    code = EXIT_CODES[worst(found)]
    if code:
        raise typer.Exit(code)
