"""What keeps bad connections out of the pool: dead, stuck, in the middle of something, or on a server that turned read-only.

SQLAlchemy throws away a connection that is closed or whose task was cancelled. Here is what it does not see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import event, exc

from datalayer.db.driver_errors import network_error
from datalayer.db.open_transactions import remember_transactions
from datalayer.db.sqlstate import READ_ONLY, connection_is_unusable

if TYPE_CHECKING:
    from sqlalchemy.engine import AdaptedConnection, ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

    from datalayer.db.pool import DatabasePool

_FRESH: Final = "datalayer_fresh"
_OPENED_READ_ONLY: Final = "datalayer_opened_read_only"
_OPENED_BEFORE: Final = "datalayer_opened_before"


def guard_pool(engine: AsyncEngine, pool: DatabasePool, ping_timeout_s: float) -> None:
    """Make the pool of an engine check what it gives out and takes back, and count.

    Args:
        engine: not connected yet.
        pool: its pool.
        ping_timeout_s: seconds in which a connection must answer before it is given out.
    """

    def opened(_dbapi: Any, record: ConnectionPoolEntry) -> None:
        pool.opened += 1
        pool.reconnects += bool(_info(record.record_info).setdefault(_OPENED_BEFORE, False))
        _info(record.record_info)[_OPENED_BEFORE] = True
        record.info[_FRESH] = True
        record.info[_OPENED_READ_ONLY] = _reported_read_only(record.driver_connection)

    def invalidated(_dbapi: Any, _record: ConnectionPoolEntry, _error: BaseException | None) -> None:
        pool.invalidated += 1

    def given_out(
        dbapi: AdaptedConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
    ) -> None:
        if record.info.pop(_FRESH, False):
            return
        _ping(dbapi, ping_timeout_s)
        if _reported_read_only(record.driver_connection) and not record.info[_OPENED_READ_ONLY]:
            msg = "the server has turned read-only"
            raise exc.InvalidatePoolError(msg)

    event.listen(engine.sync_engine, "connect", opened)
    event.listen(engine.sync_engine, "invalidate", invalidated)
    event.listen(engine.sync_engine, "checkout", given_out)
    event.listen(engine.sync_engine, "checkin", _taken_back)
    event.listen(engine.sync_engine, "handle_error", _judge_error)
    remember_transactions(engine)


def _ping(dbapi: AdaptedConnection, timeout_s: float) -> None:
    """One round trip, where SQLAlchemy's own ping takes three, and with an end."""
    try:
        dbapi.run_async(lambda driver: driver.execute("SELECT", timeout=timeout_s))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        msg = f"the connection does not answer: {error or type(error).__name__}"
        raise exc.DisconnectionError(msg) from error


def _reported_read_only(driver: Any) -> bool:
    """Return what the server said last. It tells by itself when one of these parameters changes."""
    reported = driver.get_settings()
    names = ("default_transaction_read_only", "in_hot_standby")
    return any(getattr(reported, name, "off") == "on" for name in names)


def _taken_back(dbapi: Any, record: ConnectionPoolEntry) -> None:
    driver = record.driver_connection
    # It was rolled back just now: whatever transaction there still is, SQLAlchemy does not know of it.
    if dbapi is not None and driver is not None and (driver.is_closed() or driver.is_in_transaction()):
        record.invalidate()


def _judge_error(context: ExceptionContext) -> BaseException | None:
    original = context.original_exception
    driver_error = original.__cause__ or original
    sqlstate = getattr(original, "sqlstate", None)
    timed_out_or_lost = isinstance(driver_error, OSError)
    if context.is_disconnect:  # decided already, by SQLAlchemy
        context.invalidate_pool_on_disconnect = False  # the others are asked before they are given out
    elif context.connection is not None and (
        timed_out_or_lost
        or isinstance(driver_error, asyncpg.InternalClientError)
        or (connection_is_unusable(sqlstate) and not _asked_for_read_only(context))
    ):
        context.is_disconnect = True
        # One who only reads does not notice a server that turned read-only: all connections are replaced.
        context.invalidate_pool_on_disconnect = sqlstate == READ_ONLY
    return network_error(driver_error) if isinstance(driver_error, OSError) else None


def _asked_for_read_only(context: ExceptionContext) -> bool:
    connection = context.connection
    return connection is not None and bool(
        connection.get_execution_options().get("postgresql_readonly", False)
    )


def _info(record_info: dict[str, Any] | None) -> dict[str, Any]:
    return {} if record_info is None else record_info
