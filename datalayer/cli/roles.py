"""`datalayer db roles`: the roles of a server, made by its administrator."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from datalayer.config import Settings, redact
from datalayer.db.role_names import MIGRATE, READ, WRITE
from datalayer.db.roles import create_roles, roles_script


def roles(
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the script for psql instead of running it.")
    ] = False,
) -> None:
    """Make the roles to migrate, to write and to read, and hand the schema over to the first. May be repeated.

    Run it as a user who owns the database and may create roles. No role gets a password here.
    """
    settings = Settings.load()
    if sql:
        typer.echo(roles_script(settings.database_schema), nl=False)
        return
    asyncio.run(create_roles(settings))
    typer.echo(
        f"{redact(settings.require_url())}, schema {settings.database_schema}: {MIGRATE} owns it, {WRITE} inserts and updates, "
        f"{READ} reads\n"
        f"next, in psql: \\password {MIGRATE}, and for each service CREATE ROLE its_name LOGIN IN ROLE {WRITE}, or {READ}"
    )
