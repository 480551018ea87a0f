"""How a revision runs: limits of its transaction, its schema, and what stands around it in a script.

Used by `alembic/env.py`, so that `alembic upgrade head` and `datalayer db upgrade` do the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from sqlalchemy import event, inspect, text

from datalayer.db.deploy_lock import lock_key
from datalayer.db.driver_connect import search_path
from datalayer.db.roles import rights_sql
from datalayer.db.server_gate import check_server, offline_gate
from datalayer.errors import InvalidInputError
from datalayer.timescale.quoting import identifier, literal, statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class MigrationLimits:
    """How long a migration may wait and work. `alembic -x lock_timeout_s=30 upgrade head` overrides one.

    Attributes:
        lock_timeout_s: seconds that one statement waits for a lock; the application's queries queue up behind it
            meanwhile, so it is short.
        statement_timeout_s: seconds that one statement may run, except those outside of transactions.
        deploy_wait_s: seconds to wait for another deploy to end.
    """

    lock_timeout_s: float = 10.0
    statement_timeout_s: float = 600.0
    deploy_wait_s: float = 60.0

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> Self:
        """Return the limits with those of `-x name=value` in place of the defaults.

        Raises:
            InvalidInputError: an unknown name, or no positive number.
        """
        known = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in known:
                raise InvalidInputError("-x", name, "use one of " + ", ".join(known))
        return cls(**{name: _positive(name, value) for name, value in arguments.items()})


def prepare_schema(conn: Connection, schema: str) -> None:
    """Refuse a server that will not do, then make sure that the schema exists. May be repeated.

    Raises:
        UnsupportedServerError: nothing was changed.
    """
    check_server(conn)
    with conn.begin():  # a role that owns nothing but its schema may not create any, not even if it exists
        if not inspect(conn).has_schema(schema):
            conn.exec_driver_sql(f"CREATE SCHEMA {identifier(schema)}")


def limit_transactions(conn: Connection, limits: MigrationLimits) -> None:
    """Give every transaction that begins on `conn` from now on its lock and statement timeouts.

    Statements outside of transactions, which walk through all chunks, get the lock timeout alone.
    """

    @event.listens_for(conn, "begin")
    def set_timeouts(begun: Connection) -> None:
        autocommit = begun.get_isolation_level() == "AUTOCOMMIT"
        for name, seconds in _timeouts(limits, unlimited=autocommit).items():
            begun.execute(
                text("SELECT set_config(:name, :ms, :local)"),
                {"name": name, "ms": seconds, "local": not autocommit},
            )


def release_limits(conn: Connection) -> None:
    """Take back what statements outside of transactions left on the connection, which may go back to a pool."""
    conn.rollback()
    with conn.begin():
        conn.exec_driver_sql("RESET lock_timeout")
        conn.exec_driver_sql("RESET statement_timeout")


def script_head(schema: str, limits: MigrationLimits) -> str:
    """Return what a script for psql starts with: stop at errors, the gate, the lock, the schema."""
    settings = "\n".join(f"SET {name} = {ms};" for name, ms in _timeouts(limits, unlimited=False).items())
    name = identifier(schema)
    create = (
        f"SELECT {literal(f'CREATE SCHEMA {name}')} WHERE to_regnamespace({literal(name)}) IS NULL \\gexec\n"
    )
    return f"""\
-- Run by: psql --file=this-file  (it stops at the first error; each revision is one transaction)
\\set ON_ERROR_STOP on
{offline_gate()}
SET search_path = {search_path(schema)};
{settings}
SELECT pg_advisory_lock({lock_key(schema)});
{create}"""


def script_tail(schema: str) -> str:
    """Return what a script for psql ends with."""
    return f"{rights_sql(schema)}SELECT pg_advisory_unlock({lock_key(schema)});\n"


def give_rights(conn: Connection, schema: str) -> None:
    """Give the roles their rights on what a revision has brought, in its transaction."""
    conn.execute(statement(rights_sql(schema)))


def _timeouts(limits: MigrationLimits, *, unlimited: bool) -> dict[str, str]:
    statement_s = 0.0 if unlimited else limits.statement_timeout_s
    return {
        "lock_timeout": f"{limits.lock_timeout_s * 1000:.0f}",
        "statement_timeout": f"{statement_s * 1000:.0f}",
    }


def _positive(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise InvalidInputError(name, value, "give a positive number of seconds")
    return number
