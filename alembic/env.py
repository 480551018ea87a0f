"""Runs the revisions: online on an async engine, offline as a script for psql."""

from __future__ import annotations

import asyncio
from logging.config import fileConfig
from typing import TYPE_CHECKING, Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

import datalayer.timescale.plugin  # noqa: F401 (teaches Alembic the operations and the comparison)
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.deploy_lock import deploy_lock
from datalayer.db.migration_run import (
    MigrationLimits,
    give_rights,
    limit_transactions,
    prepare_schema,
    release_limits,
    script_head,
    script_tail,
)
from datalayer.errors import DataLayerError
from datalayer.models import Base

if TYPE_CHECKING:
    from collections.abc import Callable

config = context.config
limits = config.attributes.get("limits") or MigrationLimits.parse(context.get_x_argument(as_dictionary=True))


def run_offline(schema: str) -> None:
    """Print the script; it needs no database."""
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
        transaction_per_migration=True,
        version_table_schema=schema,
    )
    print_sql = context.get_context().impl.static_output
    print_sql(script_head(schema, limits))
    with context.begin_transaction():
        context.run_migrations()
    print_sql(script_tail(schema))


def run_on(connection: Connection, schema: str) -> None:
    """Run on an open connection that holds the deploy lock and has no open transaction."""
    prepare_schema(connection, schema)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        version_table_schema=schema,
        include_name=own_names(connection, schema),
        on_version_apply=lambda **_: give_rights(connection, schema),
    )
    limit_transactions(connection, limits)
    with context.begin_transaction():
        context.run_migrations()
    release_limits(connection)


def own_names(connection: Connection, schema: str) -> Callable[[str | None, str, Any], bool]:
    """Return a filter for comparisons: other schemas on the search path are none of our business."""
    with connection.begin():
        tables = set(inspect(connection).get_table_names(schema=schema))

    def include(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or (name in tables and name != "alembic_version")

    return include


async def run_with(engine: AsyncEngine, schema: str) -> None:
    """Connect, take the deploy lock and run."""
    async with engine.connect() as connection, deploy_lock(connection, schema, limits.deploy_wait_s):
        await connection.run_sync(run_on, schema)


async def run_online(schema: str) -> None:
    """Run on the database that the environment names; there is no default. Alembic prints its own errors as one line."""
    try:
        async with DatabaseConnectionManager(Settings.load().for_maintenance()) as database:
            await run_with(database.engine, schema)
    except DataLayerError as exc:
        raise CommandError(str(exc)) from exc


def main() -> None:
    """Choose by how Alembic was called: a script, a connection handed over, or the configured database."""
    handed_over = config.attributes.get("connection")
    schema = config.attributes.get("schema") or Settings.load().database_schema
    if config.config_file_name is not None:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        run_offline(schema)
    elif isinstance(handed_over, Connection):
        run_on(handed_over, schema)
    elif isinstance(handed_over, AsyncEngine):
        asyncio.run(run_with(handed_over, schema))
    else:
        asyncio.run(run_online(schema))


main()
