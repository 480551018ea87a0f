"""A driver that works behind a pooler which gives a server connection for one transaction only.

Nothing may be expected of a session there: neither its parameters nor what it has prepared. Parameters are set in each
transaction, at the cost of one round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping


def pooler_arguments(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments for SQLAlchemy's asyncpg dialect.

    Args:
        parameters: the server's parameters that each transaction shall have.
    """
    commands = "; ".join(f"SET LOCAL {name} = {_value(name, value)}" for name, value in parameters.items())

    class LocalTransaction(_LocalTransaction):
        set_local = commands

    class PooledConnection(_PooledConnection):
        transaction_class = LocalTransaction

    return {
        "connection_class": PooledConnection,
        "statement_cache_size": 0,  # asyncpg's
        "prepared_statement_cache_size": 0,  # SQLAlchemy's
        # Statements without a name leave nothing behind on a server connection that another client gets next. Without its
        # cache, asyncpg sends such a statement again together with the values, so that it cannot meet another one.
        "prepared_statement_name_func": lambda: "",
    }


def _value(name: str, value: str) -> str:
    # A search path is a list of identifiers, quoted already; as a string it would be one name.
    return value if name == "search_path" else "'" + value.replace("'", "''") + "'"


class _LocalTransaction(Transaction):  # type: ignore[misc]  # asyncpg is untyped
    set_local = ""

    async def start(self) -> None:
        await super().start()
        if self._nested:
            return
        try:
            await self._connection.execute(self.set_local)
        except Exception:
            await self.rollback()
            raise


class _PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is untyped
    transaction_class = _LocalTransaction

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> _LocalTransaction:
        self._check_open()
        return self.transaction_class(self, isolation, readonly, deferrable)
