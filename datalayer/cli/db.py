"""`datalayer db`: the schema of a database, and the policies in it. Refuses to start without a written-down address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from datalayer.cli.database import database_settings
from datalayer.cli.digest import digest
from datalayer.cli.roles import roles
from datalayer.config import Settings, redact
from datalayer.db import migrations
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.migration_losses import list_losses
from datalayer.db.migration_run import MigrationLimits
from datalayer.timescale import Job, PolicyKind, list_jobs, switch_jobs

if TYPE_CHECKING:
    from datetime import timedelta

app = typer.Typer(
    no_args_is_help=True,
    help="Migrate the database schema, compare it, and see to its policies.",
    epilog="The database is named by DATALAYER_DATABASE_URL and has no default here. Exit codes: 0 done, 1 error, "
    "2 wrong usage, 3 differences found or confirmation missing.",
)
for command in (roles, digest):
    app.command()(command)

NOT_AS_WANTED = 3
_UNCUT_WIDTH = 200  # one line a policy, for people and for grep; a narrow terminal wraps it

LockTimeout = Annotated[
    float,
    typer.Option(
        min=0.001, help="Seconds that a statement waits for a lock before the revision is given up."
    ),
]
StatementTimeout = Annotated[
    float, typer.Option(min=0.001, help="Seconds that one statement of a revision may run.")
]
DeployWait = Annotated[float, typer.Option(min=0.001, help="Seconds to wait for another deploy to end.")]
_DEFAULTS = MigrationLimits()


@app.command()
def upgrade(
    revision: Annotated[
        str, typer.Argument(help="Revision to go up to: its name, +1, or head for the newest.")
    ] = "head",
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the script for psql instead of running it.")
    ] = False,
    lock_timeout_s: LockTimeout = _DEFAULTS.lock_timeout_s,
    statement_timeout_s: StatementTimeout = _DEFAULTS.statement_timeout_s,
    deploy_wait_s: DeployWait = _DEFAULTS.deploy_wait_s,
) -> None:
    """Bring the schema up to date. Does nothing where it is already; each revision is one transaction."""
    limits = MigrationLimits(lock_timeout_s, statement_timeout_s, deploy_wait_s)
    settings = Settings.load()
    if sql:
        typer.echo(migrations.script(settings, revision, limits), nl=False)
        return
    address = redact(settings.require_url())
    reached = asyncio.run(migrations.upgrade(settings, revision, limits))
    typer.echo(f"{address}, schema {settings.database_schema}: at revision {reached}")


@app.command()
def downgrade(
    revision: Annotated[
        str, typer.Argument(help="Revision to go back to: its name, -1, or base for nothing at all.")
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Drop the data that goes with it.")] = False,
    lock_timeout_s: LockTimeout = _DEFAULTS.lock_timeout_s,
    statement_timeout_s: StatementTimeout = _DEFAULTS.statement_timeout_s,
    deploy_wait_s: DeployWait = _DEFAULTS.deploy_wait_s,
) -> None:
    """Take the schema back. Lists the tables with data that would be dropped, and stops there without --yes."""
    settings = database_settings()
    losses = asyncio.run(list_losses(settings, revision))
    if losses and not yes:
        typer.echo("this would drop data:\n" + "\n".join(f"  {loss}" for loss in losses), err=True)
        typer.echo("nothing was changed; repeat with --yes to drop it", err=True)
        raise typer.Exit(NOT_AS_WANTED)
    limits = MigrationLimits(lock_timeout_s, statement_timeout_s, deploy_wait_s)
    reached = asyncio.run(migrations.downgrade(settings, revision, limits))
    typer.echo(
        f"{redact(settings.require_url())}, schema {settings.database_schema}: at revision {reached or 'base'}"
    )


@app.command()
def current() -> None:
    """Print the revision that the database is at."""
    typer.echo(asyncio.run(migrations.current(Settings.load())) or "base")


@app.command()
def history() -> None:
    """Print all revisions that this package carries, oldest first. Needs no database."""
    for revision in migrations.history():
        typer.echo(f"{revision.id}  {revision.title}")


@app.command()
def check() -> None:
    """Compare the database with the newest revision and the models; exit code 3 if they differ."""
    differences = asyncio.run(migrations.check(Settings.load()))
    for difference in differences:
        typer.echo(difference)
    if differences:
        raise typer.Exit(NOT_AS_WANTED)
    typer.echo("the database is as this package wants it")


@app.command()
def policies(
    *,
    resume_retention: Annotated[
        bool,
        typer.Option("--resume-retention", help="Let old data be deleted from now on, by the windows shown."),
    ] = False,
    pause_retention: Annotated[
        bool, typer.Option("--pause-retention", help="Stop deleting old data.")
    ] = False,
) -> None:
    """List what the database does by itself: refresh, compression, retention, with windows and state.

    Retention is installed paused, since imported history is older than any window.
    """
    if resume_retention and pause_retention:
        msg = "give either --resume-retention or --pause-retention"
        raise typer.BadParameter(msg)
    switch = resume_retention if resume_retention or pause_retention else None
    Console(width=_UNCUT_WIDTH).print(_table(asyncio.run(_policies(Settings.load(), switch))))


async def _policies(settings: Settings, retention: bool | None) -> list[Job]:
    async with DatabaseConnectionManager(settings) as database, database.engine.begin() as conn:
        if retention is not None:
            await conn.run_sync(switch_jobs, PolicyKind.RETENTION, scheduled=retention)
        return await conn.run_sync(list_jobs)


def _table(found: list[Job]) -> Table:
    table = Table("policy", "relation", "data", "every", "state", "last run (UTC)", box=None)
    for column in table.columns:
        column.no_wrap = True
    for policy in found:
        state = "on" if policy.scheduled else "paused"
        every = _words(policy.schedule_interval)
        table.add_row(
            policy.kind.name.lower(), policy.relation, _data(policy.windows), every, state, _last_run(policy)
        )
    return table


def _data(windows: dict[str, timedelta | int]) -> str:
    """Return which data a policy works on: `from 4 h to 1 min ago`, `older than 14 d`."""
    ages = [_words(age) for age in windows.values()]
    return f"from {ages[0]} to {ages[1]} ago" if len(ages) > 1 else f"older than {ages[0]}"


def _last_run(policy: Job) -> str:
    if policy.last_run is None:
        return "-"
    failures = f", {policy.failures} failed" if policy.failures else ""
    return f"{policy.last_run:%m-%d %H:%M} {policy.last_status or ''}{failures}"


def _words(length: timedelta | int) -> str:
    """Return a duration as a person says it: `14 d`, `12 h`, `5 min`, `1 s`."""
    if isinstance(length, int):
        return str(length)
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
