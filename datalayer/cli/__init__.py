"""The `datalayer` command: one thin file per group."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from datalayer.cli import aggregates, annotation, db, instruments, market, migrate, rejects, rollout, server
from datalayer.cli.coverage import coverage
from datalayer.cli.dashboard import dashboard
from datalayer.cli.demo import demo
from datalayer.cli.health import EXITS, doctor, status
from datalayer.cli.ingest import ingest
from datalayer.cli.metrics import metrics
from datalayer.cli.monitor import monitor
from datalayer.config import URL_FORMS
from datalayer.errors import DataLayerError, NoDataError

app = typer.Typer(
    name="datalayer",
    help="The market-data layer of a trading system on TimescaleDB.",
    epilog=f"The database is named by DATALAYER_DATABASE_URL: {URL_FORMS}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_NO_DATA = 3
_OF_DATA = (
    "The database is named by DATALAYER_DATABASE_URL; without it the embedded one serves. "
    "Exit codes: 0 done, 1 error, 2 wrong usage, 3 there is nothing of it, or candles are missing."
)

app.add_typer(aggregates.app, name="aggregates")
app.add_typer(annotation.app, name="annotations")
app.add_typer(db.app, name="db")
app.add_typer(instruments.app, name="instruments")
app.add_typer(migrate.app, name="migrate")
app.add_typer(rejects.app, name="rejects")
app.add_typer(rollout.app, name="rollout")
app.add_typer(server.app, name="server")
app.command()(demo)
app.command(
    epilog="Exit codes: 0 ended by a signal, everything is written; 1 error; 2 wrong usage; 3 ended, and the outbox holds "
    "events that the next start writes."
)(ingest)
for command in (market.candles, market.trades, market.book, market.inference, coverage):
    app.command(rich_help_panel="Market data", epilog=_OF_DATA)(command)
for look in (status, doctor):
    app.command(rich_help_panel="Operation", epilog=EXITS)(look)
for serve in (monitor, dashboard, metrics):
    app.command(rich_help_panel="Operation")(serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"datalayer {version('datalayer')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command; an error that the library foresees is one sentence on stderr and exit code 1, or 3 if it is that there are no data."""
    _show_progress()
    try:
        app()
    except DataLayerError as exc:
        typer.secho(f"error: {exc}", err=True, fg=typer.colors.RED)
        sys.exit(_NO_DATA if isinstance(exc, NoDataError) else 1)


def _show_progress() -> None:
    """Say on stderr what the start of an embedded database is at: the first one installs its runtime."""
    logger = logging.getLogger("datalayer.embedded")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler())
