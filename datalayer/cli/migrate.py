"""`datalayer migrate`: the history of a Parquet cache into the database, verified, and out of it again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from datalayer.cli.database import database_settings
from datalayer.cli.naive_zone import NaiveZone, zone_of
from datalayer.cli.progress import progress_bar
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.rollout.archive import archive_run, restore_archive
from datalayer.rollout.ledger import MigrationLedger
from datalayer.rollout.manager import DataMigrationManager
from datalayer.rollout.report_text import summary, write_report

if TYPE_CHECKING:
    from datetime import tzinfo

    from rich.progress import Progress

    from datalayer.rollout.ledger import LedgerRun
    from datalayer.rollout.migration_report import MigrationReport
    from datalayer.rollout.piece_writer import ConflictPolicy
    from datalayer.rollout.plan import MigrationPlan
    from datalayer.rollout.progress import MigrationProgress
    from datalayer.rollout.undo import Undone

app = typer.Typer(
    no_args_is_help=True,
    help="Take the history of a folder of Parquet files into the database; the files are never changed.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 something is not right: see what is printed.",
)

NOT_RIGHT: Final = 3
_UNCUT_WIDTH: Final = 200
_SHOWN_PATH: Final = 30

Folder = Annotated[Path, typer.Argument(help="The cache folder.", exists=True, file_okay=False)]
Run = Annotated[int, typer.Argument(help="Number of the run, as `list` shows it.")]
Conflict = Annotated[
    str, typer.Option(help="Rows stored with other values: keep them, prefer_file, or fail.")
]
Reports = Annotated[
    Path | None, typer.Option("--report", help="Write the report there, as JSON, Markdown and HTML.")
]


@app.command()
def plan(folder: Folder, *, naive_zone: NaiveZone = "UTC") -> None:
    """Show what would be taken, and what not and why; writes nothing."""
    for line in asyncio.run(_plan(database_settings(), folder, zone_of(naive_zone))).lines():
        typer.echo(line)


@app.command()
def run(
    folder: Folder,
    *,
    naive_zone: NaiveZone = "UTC",
    on_conflict: Conflict = "keep",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
    report: Reports = None,
) -> None:
    """Take what is not taken yet, and compare every row with its file; may be interrupted and repeated at any moment."""
    if dry_run:
        plan(folder, naive_zone=naive_zone)
        return
    if on_conflict not in {"keep", "prefer_file", "fail"}:
        msg = "--on-conflict is keep, prefer_file or fail"
        raise typer.BadParameter(msg)
    _tell(asyncio.run(_run(database_settings(), folder, zone_of(naive_zone), on_conflict, report)))  # type: ignore[arg-type]


@app.command(name="list")
def list_() -> None:
    """List the runs."""
    table = Table("run", "state", "began (UTC)", "stored rows", "folder", box=None)
    for found in asyncio.run(_runs(database_settings())):
        began = f"{found.started_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(found.id), found.state, began, found.on_conflict, found.folder)
    Console(width=_UNCUT_WIDTH).print(table)


@app.command()
def verify(run_id: Run, *, naive_zone: NaiveZone = "UTC", report: Reports = None) -> None:
    """Compare every row of a run's files with the database once more."""
    _tell(asyncio.run(_verify(database_settings(), run_id, zone_of(naive_zone), report)))


@app.command()
def rollback(
    run_id: Run, *, file: Annotated[str | None, typer.Option(help="Only this file of the run.")] = None
) -> None:
    """Take out exactly what a run brought; what was there before, came in since or was changed since stays."""
    for path, undone in asyncio.run(_rollback(database_settings(), run_id, file)).items():
        typer.echo(f"{path}: {undone}")


@app.command()
def archive(run_id: Run, to: Annotated[Path, typer.Option(help="Folder of archives.")]) -> None:
    """Move the files of a run that is done and verified away, with a manifest of their hashes."""
    typer.echo(f"archived: {asyncio.run(_archive(database_settings(), run_id, to))}")


@app.command()
def restore(run_id: Run, manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Move the files of a manifest back to where they were."""
    for path in asyncio.run(_restore(database_settings(), run_id, manifest)):
        typer.echo(path)


def _tell(report: MigrationReport) -> None:
    if report.run is None:
        typer.echo("nothing to do: everything that can be read was taken before")
        return
    for line in summary(report):
        typer.echo(line)
    if not report.is_right:
        raise typer.Exit(NOT_RIGHT)


async def _plan(settings: Settings, folder: Path, zone: tzinfo) -> MigrationPlan:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        return await DataMigrationManager(database, folder, naive_zone=zone).plan()


async def _run(
    settings: Settings, folder: Path, zone: tzinfo, on_conflict: ConflictPolicy, reports: Path | None
) -> MigrationReport:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        with progress_bar() as bar:
            manager = DataMigrationManager(
                database, folder, naive_zone=zone, on_conflict=on_conflict, on_progress=_Shown(bar)
            )
            report = await manager.migrate()
        return await _written(database, report, reports)


async def _verify(settings: Settings, run_id: int, zone: tzinfo, reports: Path | None) -> MigrationReport:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        found = await _get(database, run_id)
        with progress_bar() as bar:
            manager = DataMigrationManager(
                database, Path(found.folder), naive_zone=zone, on_progress=_Shown(bar)
            )
            report = await manager.verify(run_id)
        return await _written(database, report, reports)


async def _rollback(settings: Settings, run_id: int, file: str | None) -> dict[str, Undone]:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        manager = DataMigrationManager(database, Path((await _get(database, run_id)).folder))
        if file is None:
            return await manager.rollback(run_id)
        return {file: await manager.rollback_file(run_id, file)}


async def _archive(settings: Settings, run_id: int, folder: Path) -> Path:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        return await archive_run(database.engine, run_id, folder)


async def _restore(settings: Settings, run_id: int, manifest: Path) -> list[str]:
    async with DatabaseConnectionManager(settings.for_maintenance()) as database:
        return await restore_archive(database.engine, manifest, run_id)


async def _runs(settings: Settings) -> list[LedgerRun]:
    async with (
        DatabaseConnectionManager(settings.for_maintenance()) as database,
        database.engine.connect() as conn,
    ):
        return await MigrationLedger(conn).list_runs()


async def _get(database: DatabaseConnectionManager, run_id: int) -> LedgerRun:
    async with database.engine.connect() as conn:
        return await MigrationLedger(conn).get_run(run_id)


async def _written(
    database: DatabaseConnectionManager, report: MigrationReport, folder: Path | None
) -> MigrationReport:
    if folder is not None and report.run is not None:
        await write_report(database.engine, report, folder)
    return report


class _Shown:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def __call__(self, at: MigrationProgress) -> None:
        told = f"{at.at[-_SHOWN_PATH:]}: {at.rows_per_s:,.0f} rows/s"
        self._bar.update(self._task, description=told, total=at.total, completed=at.done)
