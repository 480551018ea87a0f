"""`datalayer rejects`: records that a rule refused, to be looked at, sent in again, or thrown away."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from datalayer.cli.database import database_settings
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.repositories.reject_retry import retry_rejects
from datalayer.repositories.reject_rows import Reject, RejectFilter
from datalayer.repositories.rejects import RejectRepository

if TYPE_CHECKING:
    from datalayer.repositories.reject_rows import RejectStatus

app = typer.Typer(
    no_args_is_help=True,
    help="Look at records that a rule refused, and send them in again.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 some records are still refused.",
)

STILL_REFUSED = 3
_UNCUT_WIDTH = 240  # one line a record, for people and for grep

Ids = Annotated[list[int], typer.Argument(help="Numbers of records, as `list` shows them.")]
Kind = Annotated[str | None, typer.Option(help="Only candle, trade or order_book.")]
Symbol = Annotated[str | None, typer.Option(help="Only of this instrument, in any known spelling.")]
RuleName = Annotated[str | None, typer.Option("--rule", help="Only those that this rule refused.")]


@app.command(name="list")
def list_(
    *,
    status: Annotated[str, typer.Option(help="open, retried, discarded or all.")] = "open",
    kind: Kind = None,
    symbol: Symbol = None,
    rule: RuleName = None,
    after: Annotated[int, typer.Option(help="Only numbers above this one, to read on.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> None:
    """List records in quarantine, oldest first."""
    wanted = RejectFilter(status=_status(status), kind=kind, symbol=symbol, rule=rule)
    found = asyncio.run(_list(database_settings(), wanted, after, limit))
    Console(width=_UNCUT_WIDTH, markup=False).print(_table(found))


@app.command()
def show(reject_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the record.")]) -> None:
    """Show one record with all that was kept of it."""
    found = asyncio.run(_get(database_settings(), reject_id))
    for name in found.__slots__:
        value = getattr(found, name)
        if name != "payload" and value is not None:
            typer.echo(f"{name}: {value}")
    typer.echo(f"payload: {_pretty(found.payload)}")


@app.command()
def retry(
    ids: Annotated[list[int] | None, typer.Argument(help="Numbers of records; none: see --all.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All open records that the options leave.")] = False,
    kind: Kind = None,
    symbol: Symbol = None,
    rule: RuleName = None,
) -> None:
    """Validate records again and store what is accepted now, after a rule or a scale was mended."""
    if bool(ids) == every:
        msg = "give the numbers of records, or --all"
        raise typer.BadParameter(msg)
    wanted = RejectFilter(ids=tuple(ids) if ids else None, kind=kind, symbol=symbol, rule=rule)
    stored, refused = asyncio.run(_retry(database_settings(), wanted))
    typer.echo(f"{stored:,} stored")
    for name, count in refused.most_common():
        typer.echo(f"{count:,} still refused by the rule {name}")
    if refused:
        raise typer.Exit(STILL_REFUSED)


@app.command()
def discard(ids: Ids) -> None:
    """Mark records as thrown away; they stay in the table, and are not sent in again."""
    typer.echo(f"{asyncio.run(_discard(database_settings(), ids)):,} discarded")


def _status(text: str) -> RejectStatus | None:
    if text == "all":
        return None
    if text in {"open", "retried", "discarded"}:
        return text  # type: ignore[return-value]  # one of the literals by the line above
    msg = "--status is open, retried, discarded or all"
    raise typer.BadParameter(msg)


async def _list(settings: Settings, wanted: RejectFilter, after: int, limit: int) -> list[Reject]:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return await RejectRepository(conn).list_rejects(wanted, after_id=after, limit=limit)


async def _get(settings: Settings, reject_id: int) -> Reject:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return await RejectRepository(conn).get(reject_id)


async def _discard(settings: Settings, ids: list[int]) -> int:
    async with DatabaseConnectionManager(settings) as database, database.engine.begin() as conn:
        return await RejectRepository(conn).resolve(ids, "discarded")


async def _retry(settings: Settings, wanted: RejectFilter) -> tuple[int, Counter[str]]:
    """Retry batch by batch, each in a transaction of its own."""
    stored, refused, last = 0, Counter[str](), 0
    async with DatabaseConnectionManager(settings) as database:
        while True:
            async with database.engine.begin() as conn:
                done = await retry_rejects(conn, wanted, after_id=last)
            if done.last_id is None:
                return stored, refused
            stored, last = stored + len(done.stored), done.last_id
            refused.update(reason.rule for reason in done.refused.values())


def _table(found: list[Reject]) -> Table:
    table = Table("id", "received (UTC)", "status", "kind", "symbol", "rule", "source", "message", box=None)
    for column in table.columns:
        column.no_wrap = True
    for r in found:
        received = f"{r.received_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(r.id), received, r.status, r.kind, r.symbol or "-", r.rule, r.source, r.message)
    return table


def _pretty(payload: bytes) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2)
    except ValueError:
        return repr(payload)
