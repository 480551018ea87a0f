"""`datalayer db digest`: what a database holds, to be compared with another one."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from datalayer.cli.database import database_settings
from datalayer.cli.market_arguments import moment
from datalayer.db.digest import digest_database


def digest(
    *,
    end: Annotated[
        str | None,
        typer.Option(
            help="Only market data before this time, with its zone: what is not written any more.",
            metavar="TIME",
        ),
    ] = None,
) -> None:
    """Print what each table and aggregate holds: rows, a digest of all values, compressed chunks; at last the policies.

    Two databases with the same lines hold the same. All rows are read.
    """
    for found in asyncio.run(digest_database(database_settings(), moment(end, "end"))):
        typer.echo(f"{found.relation:<24} {found.rows:>14} {found.digest} {found.compressed_chunks:>6}")
