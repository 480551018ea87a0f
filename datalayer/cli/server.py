"""`datalayer server`: the embedded TimescaleDB as a process of its own."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from datalayer.config import EMBEDDED_SCHEME, Settings
from datalayer.embedded.daemon import DaemonStart, find_server, start_daemon, stop_server
from datalayer.embedded.url import embedded_folder

if TYPE_CHECKING:
    from datalayer.embedded import EmbeddedStatus

NOT_RUNNING = 3  # as service tools answer `status`

app = typer.Typer(help="Run the embedded TimescaleDB of this machine.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--path",
        help="Folder of the database. Default: the one of an embedded:/// DATALAYER_DATABASE_URL, else DATALAYER_EMBEDDED_DIR.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def start(
    *,
    path: FolderOption = None,
    tcp: Annotated[
        bool, typer.Option("--tcp", help="Listen on 127.0.0.1 too; prints the password once.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the server, detached; returns when it is ready."""
    settings = Settings.load()
    progress = Console(stderr=True)
    started = start_daemon(
        path or _default_folder(settings), settings.cache_dir, tcp=tcp, on_progress=progress.print
    )
    typer.echo(_to_json(started) if as_json else _describe_start(started))


def _default_folder(settings: Settings) -> Path:
    if settings.url is None or settings.url.drivername != EMBEDDED_SCHEME:
        return settings.embedded_dir
    return embedded_folder(settings.url) or settings.embedded_dir


def _describe_start(started: DaemonStart) -> str:
    verb = "is already running" if started.already_running else "runs"
    lines = [
        f"The embedded TimescaleDB {verb} on {started.folder} (process {started.pid}).",
        f"  export DATALAYER_DATABASE_URL={started.database_url}",
        f"  {started.psql}",
    ]
    if started.tcp_url is not None:
        lines.append(f"  TCP, shown only now: {started.tcp_url}")
    return "\n".join(lines)


@app.command()
def stop(*, path: FolderOption = None, as_json: JsonOption = False) -> None:
    """Stop the server; connected clients get an error."""
    folder = path or _default_folder(Settings.load())
    pid = stop_server(folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "stopped_pid": pid}))
    elif pid is None:
        typer.echo(f"No embedded TimescaleDB was running on {folder}.")
    else:
        typer.echo(f"Stopped the embedded TimescaleDB on {folder} (process {pid}).")


@app.command()
def status(*, path: FolderOption = None, as_json: JsonOption = False) -> None:
    """Show the server and its scheduled jobs; exit code 3 if it is not running."""
    folder = path or _default_folder(Settings.load())
    found = find_server(folder)
    if as_json:
        typer.echo(_to_json(found) if found else json.dumps({"folder": str(folder), "running": False}))
    elif found is None:
        typer.echo(f"No embedded TimescaleDB is running on {folder}.")
    else:
        _print_status(found)
    if found is None:
        raise typer.Exit(NOT_RUNNING)


def _print_status(status: EmbeddedStatus) -> None:
    console = Console()
    table = Table(title="embedded TimescaleDB", show_header=False, title_justify="left")
    for name, value in _facts(status).items():
        table.add_row(name, "-" if value is None else str(value))
    console.print(table)
    if status.jobs:
        console.print(_jobs_table(status))


def _facts(status: EmbeddedStatus) -> dict[str, object]:
    state = "busy" if status.busy else "idle"
    if not status.answered:
        state = "busy: a query is running, no answer meanwhile"
    return {
        "folder": status.folder,
        "process": status.pid,
        "state": state,
        "up for": str(datetime.now(UTC) - status.started_at).partition(".")[0],
        "runs until": "it is stopped" if status.daemon else "its last user leaves",
        "socket folder": status.socket_dir,
        "TCP": None if status.tcp_port is None else f"127.0.0.1:{status.tcp_port}",
        "connections": status.clients,
        "users": status.leases,
        "PostgreSQL": status.postgres,
        "TimescaleDB": status.timescaledb,
    }


def _jobs_table(status: EmbeddedStatus) -> Table:
    table = Table("job", "on", "next start, UTC", "runs", "last", box=None)
    for column in table.columns:
        column.no_wrap = True
    for job in status.jobs:
        following = "paused" if job.next_start is None else f"{job.next_start:%m-%d %H:%M:%S}"
        last = job.last_error or job.last_status or "-"
        table.add_row(_short(job.proc), _short(job.hypertable or "-"), following, str(job.runs), last)
    return table


def _short(name: str) -> str:
    """Return a name without what TimescaleDB puts around its own: `refresh`, `compression`, `candles`."""
    for prefix in ("_timescaledb_functions.policy_", "public."):
        name = name.removeprefix(prefix)
    return name.removesuffix("_continuous_aggregate")


def _to_json(facts: DaemonStart | EmbeddedStatus) -> str:
    data: dict[str, Any] = {"running": True, **dataclasses.asdict(facts)}
    return json.dumps(data, default=str)
