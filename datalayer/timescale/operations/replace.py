"""Giving continuous aggregates new definitions without losing what cannot be made again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from alembic.util import CommandError
from sqlalchemy import text

from datalayer.errors import InvalidInputError, MigrationError
from datalayer.timescale import ddl
from datalayer.timescale.introspection import find_relations, refuse_second_refresh
from datalayer.timescale.operations.losses import Loss, find_loss
from datalayer.timescale.operations.surroundings import JOB, Surroundings, creation
from datalayer.timescale.quoting import statement
from datalayer.timescale.refresh import refresh_continuous_aggregate
from datalayer.timescale.server import Server
from datalayer.timescale.specs import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alembic.operations import Operations
    from sqlalchemy import Connection

    from datalayer.timescale.specs import AggregateSpec, Key, Policy

# A refresh policy that ran before all is filled again would move the watermark to its window's end, and hide what is older.
# An interrupted revision leaves it held back no longer than this.
_HELD_BACK: Final = "INTERVAL '1 day'"
_KEPT: Final = (
    "scheduled",
    "max_runtime",
    "max_retries",
    "retry_period",
    "initial_start",
    "fixed_schedule",
    "config",
)


def replace_aggregates(operations: Operations, definitions: Mapping[Key, str], *, accept_loss: bool) -> None:
    """Replace aggregates; see `op.replace_continuous_aggregates`.

    Args:
        operations: of the running revision.
        definitions: new SELECT of each, sources first.
        accept_loss: go on although rows cannot be made again.

    Raises:
        MigrationError: rows would be lost; nothing was changed.
        InvalidInputError: one does not exist, or another aggregate reads one of them.
        ConfigurationError: one has two refresh policies.
        CommandError: there is no connection.
    """
    context = operations.get_context()
    connection = context.connection
    if context.as_sql or connection is None:
        msg = "replace_continuous_aggregates looks for rows that would be lost before it drops anything, which a script cannot do; run this revision with a connection"
        raise CommandError(msg)
    found = _found(connection, definitions)
    if not accept_loss:
        losses = (find_loss(connection, found[key], definition) for key, definition in definitions.items())
        _refuse_losses([loss for loss in losses if loss is not None])
    server = Server.of(connection)
    surroundings = {key: Surroundings.of(connection, spec) for key, spec in found.items()}
    for key in reversed(list(definitions)):
        connection.execute(statement(ddl.drop_aggregate(key)))
    for key, definition in definitions.items():
        spec = replace(found[key], definition=definition)
        for sql in creation(connection, spec, surroundings[key], server):
            connection.execute(statement(sql))
        for policy, job in surroundings[key].jobs.items():
            _restore_job(connection, key, policy, job, server)
    with context.autocommit_block():
        inside = cast("Connection", context.connection)  # the block works on one of its own
        for schema, name in definitions:
            refresh_continuous_aggregate(inside, name, schema=schema)
        for key in definitions:
            _release_refresh(inside, key, server)


def _found(connection: Connection, definitions: Mapping[Key, str]) -> dict[Key, AggregateSpec]:
    aggregates = find_relations(connection, {schema for schema, _ in definitions}).aggregates
    for key in definitions:
        if key not in aggregates:
            raise InvalidInputError("definitions", key[1], "there is no continuous aggregate of that name")
    for key, spec in aggregates.items():
        if key not in definitions and any(source in definitions for source in spec.sources):
            raise InvalidInputError(
                "definitions", key[1], "reads one of the replaced aggregates; give its definition too"
            )
    for key in definitions:
        refuse_second_refresh(aggregates[key])
    return {key: aggregates[key] for key in definitions}


def _refuse_losses(losses: list[Loss]) -> None:
    if losses:
        named = "; ".join(map(str, losses))
        msg = f"{named}. Nothing was changed. To lose them, say accept_loss=True in the revision"
        raise MigrationError(msg)


def _restore_job(
    connection: Connection, key: Key, policy: Policy, job: Mapping[str, Any], server: Server
) -> None:
    """Give the new job what the old one had, beyond what a declaration says."""
    made = connection.execute(JOB, {"view": ddl.relation(key), "kind": policy.kind.value}).one()
    types = {
        "max_runtime": "interval",
        "retry_period": "interval",
        "initial_start": "timestamptz",
        "config": "jsonb",
    }
    arguments = [
        f"{name} => CAST(:{name} AS {types[name]})" if name in types else f"{name} => :{name}"
        for name in _KEPT
        if job[name] is not None
    ]
    if policy.kind is PolicyKind.REFRESH:
        arguments.append(f"next_start => now() + {_HELD_BACK}")
    config = json.dumps(made.config | job["config"])
    # The relation's number in the new configuration is another one than in the old.
    alter = text(f"""
        SELECT {server.function("alter_job")}(job_id, {", ".join(arguments).replace("CAST(:config AS jsonb)", "config || CAST(:config AS jsonb)")})
        FROM timescaledb_information.jobs WHERE job_id = :job_id
    """)
    connection.execute(alter, {**job, "config": config, "job_id": made.job_id})


def _release_refresh(connection: Connection, key: Key, server: Server) -> None:
    kind = PolicyKind.REFRESH.value
    for job in connection.execute(JOB, {"view": ddl.relation(key), "kind": kind}).all():
        connection.execute(
            text(f"SELECT {server.function('alter_job')}(:job_id, next_start => now())"),
            {"job_id": job.job_id},
        )
