"""`datalayer instruments`: what is registered, and more decimals for one of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from datalayer.cli.database import database_settings
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.rescale import LOCK_TIMEOUT_S, Widened, widen_scales

if TYPE_CHECKING:
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.rescale_relation import WideningProgress

app = typer.Typer(no_args_is_help=True, help="List the instruments, and widen their scales.")

Symbol = Annotated[str, typer.Argument(help="In any known spelling: BTC/USDT, BTCUSDT, btc-usdt.")]
_MOST_DIGITS = 18


@app.command(name="list")
def list_() -> None:
    """List all instruments with their scales."""
    settings = database_settings()
    table = Table("id", "symbol", "price scale", "size scale", box=None)
    for found in asyncio.run(_all(settings)):
        table.add_row(str(found.id), found.symbol, str(found.price_scale), str(found.size_scale))
    Console().print(table)


@app.command()
def show(symbol: Symbol) -> None:
    """Show one instrument, with what the exchange says of it."""
    settings = database_settings()
    typer.echo(json.dumps(asyncio.run(_one(settings, symbol)), indent=2))


@app.command()
def widen(
    symbol: Symbol,
    *,
    price_scale: Annotated[
        int | None, typer.Option(min=0, max=_MOST_DIGITS, help="Decimals of a price. Default: as it is.")
    ] = None,
    size_scale: Annotated[
        int | None, typer.Option(min=0, max=_MOST_DIGITS, help="Decimals of a size. Default: as it is.")
    ] = None,
    lock_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="Seconds to wait for writers that are at it.")
    ] = LOCK_TIMEOUT_S,
) -> None:
    """Give an instrument more decimals, and rewrite its history to match: candles, trades, books, aggregates.

    One transaction: interrupted, it leaves everything as it was, and is started again. Writers of this instrument wait
    meanwhile, all others go on. A scale is never narrowed.
    """
    if price_scale is None and size_scale is None:
        msg = "give --price-scale, --size-scale or both"
        raise typer.BadParameter(msg)
    settings = database_settings()
    typer.echo(_told(asyncio.run(_widen(settings, symbol, price_scale, size_scale, lock_timeout_s))))


async def _all(settings: Settings) -> list[Instrument]:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return await InstrumentRepository(conn).list_all()


async def _one(settings: Settings, symbol: str) -> dict[str, Any]:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        instruments = InstrumentRepository(conn)
        found = await instruments.get(symbol)
        scales = {"price_scale": found.price_scale, "size_scale": found.size_scale}
        details = await instruments.get_details(symbol)
        return {"id": found.id, "symbol": found.symbol, **scales, "details": details}


async def _widen(
    settings: Settings, symbol: str, price_scale: int | None, size_scale: int | None, lock_timeout_s: float
) -> Widened:
    def tell(progress: WideningProgress) -> None:
        typer.echo(f"{progress.relation}: chunk {progress.chunk} of {progress.chunks}", err=True)

    async with DatabaseConnectionManager(settings) as database, database.engine.begin() as conn:
        return await widen_scales(
            conn,
            symbol,
            price_scale=price_scale,
            size_scale=size_scale,
            lock_timeout_s=lock_timeout_s,
            on_progress=tell,
        )


def _told(widened: Widened) -> str:
    after = widened.after
    scales = f"{after.symbol}: price scale {after.price_scale}, size scale {after.size_scale}"
    if widened.before == after:
        return f"{scales}; it had them already"
    rows = [f"  {relation}: {count:,} rows" for relation, count in widened.rows.items() if count]
    return "\n".join([scales, *rows, "records that were refused before: datalayer rejects retry"])
