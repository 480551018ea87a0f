"""`datalayer rollout`: the switch from Parquet to the database, phase by phase."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from datalayer.cli.database import database_settings
from datalayer.cli.naive_zone import NaiveZone, zone_of
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import RolloutRefusedError
from datalayer.rollout.manager import DataMigrationManager
from datalayer.rollout.parquet_candles import ParquetCandles
from datalayer.rollout.phase_state import Phase
from datalayer.rollout.phases import MIN_SHADOW_READS, Rollout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from datalayer.rollout.phases import RolloutStatus

app = typer.Typer(
    no_args_is_help=True,
    help="Switch from Parquet to the database: dual write, migrate, verify, switch reads, stop Parquet, archive.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 refused: what is missing is printed.",
)

REFUSED: Final = 3

Folder = Annotated[Path, typer.Argument(help="The cache folder.", exists=True, file_okay=False)]
Archive = Annotated[Path | None, typer.Option(help="Where files go in the last phase.")]
Reads = Annotated[int, typer.Option(min=0, help="Reads that have to be compared in phases 3 and 4.")]

Accepted = Annotated[
    bool, typer.Option("--accept-rejected", help="Rows in quarantine are no reason to refuse.")
]


@app.command()
def status(folder: Folder) -> None:
    """Show the phase, how it came to it, and the reads that were compared in it."""
    found = _run(folder, Rollout.status)
    for line in _told(found):
        typer.echo(line)


@app.command()
def advance(
    folder: Folder,
    *,
    archive: Archive = None,
    min_shadow_reads: Reads = MIN_SHADOW_READS,
    naive_zone: NaiveZone = "UTC",
    accept_rejected: Accepted = False,
) -> None:
    """Enter the next phase, if its conditions hold; else say what is missing."""
    found = _run(
        folder,
        Rollout.advance,
        archive=archive,
        min_reads=min_shadow_reads,
        naive_zone=naive_zone,
        accept_rejected=accept_rejected,
    )
    typer.echo(f"now in phase {found.label}")


@app.command()
def back(folder: Folder, *, naive_zone: NaiveZone = "UTC") -> None:
    """Enter the phase before; nothing is lost by it."""
    typer.echo(f"now in phase {_run(folder, Rollout.back, naive_zone=naive_zone).label}")


def _run(
    folder: Path,
    action: Callable[[Rollout], Awaitable[Any]],
    *,
    archive: Path | None = None,
    min_reads: int = MIN_SHADOW_READS,
    naive_zone: str = "UTC",
    accept_rejected: bool = False,
) -> Any:
    settings, zone = database_settings(), zone_of(naive_zone)

    async def run() -> Any:
        async with DatabaseConnectionManager(settings.for_maintenance()) as database:
            manager = DataMigrationManager(database, folder, naive_zone=zone)
            parquet = ParquetCandles(folder, naive_zone=zone)
            return await action(
                Rollout(
                    database,
                    manager,
                    parquet,
                    archive=archive,
                    min_shadow_reads=min_reads,
                    accept_rejected=accept_rejected,
                )
            )

    try:
        return asyncio.run(run())
    except RolloutRefusedError as exc:
        typer.echo(f"{exc.phase} cannot begin:", err=True)
        for text in exc.missing:
            typer.echo(f"- {text}", err=True)
        raise typer.Exit(REFUSED) from exc


def _told(found: RolloutStatus) -> list[str]:
    lines = [f"{'->' if phase is found.current.phase else '  '} {phase.label}" for phase in Phase]
    lines += [
        f"entered {entry.phase.label} at {entry.entered_at:%F %T} UTC: {entry.note}"
        for entry in found.history
    ]
    shadow = found.shadow
    lines.append(
        f"{shadow.reads:,} reads compared in this phase, {shadow.rows:,} rows, {shadow.different:,} reads differ"
    )
    return lines if shadow.detail is None else [*lines, shadow.detail]
