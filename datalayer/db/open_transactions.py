"""Which transactions a task has open, for what must run outside of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, event

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_begun: Final[WeakKeyDictionary[asyncio.Task[object], WeakSet[Connection]]] = WeakKeyDictionary()


def remember_transactions(engine: AsyncEngine) -> None:
    """Note from now on which task begins transactions on connections of `engine`."""
    event.listen(engine.sync_engine, "begin", _remember)


def task_has_open_transaction() -> bool:
    """Return whether the running task has begun a transaction that is not over yet. Autocommit is none."""
    task = asyncio.current_task()
    return task is not None and any(_is_open(conn) for conn in _begun.get(task, ()))


def _remember(conn: Connection) -> None:
    task = asyncio.current_task()
    if task is not None:
        still_open = [other for other in _begun.get(task, ()) if _is_open(other)]
        _begun[task] = WeakSet([*still_open, conn])


def _is_open(conn: Connection) -> bool:
    # What is remembered is only who began; whether it is over, the connection knows.
    autocommit = conn.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    return not conn.closed and conn.in_transaction() and not autocommit
