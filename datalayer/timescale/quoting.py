"""Names and texts as parts of SQL, where no parameter can be bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import TextClause


def identifier(name: str) -> str:
    """Return a name as an SQL identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def qualified(name: str, schema: str | None = None) -> str:
    """Return the quoted name of a relation; without a schema the search path finds it."""
    return identifier(name) if schema is None else f"{identifier(schema)}.{identifier(name)}"


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    escaped = text.replace("'", "''")
    return f"E'{escaped}'".replace("\\", "\\\\") if "\\" in text else f"'{escaped}'"


def regclass(name: str, schema: str | None = None) -> str:
    """Return the literal by which functions take a relation."""
    return literal(qualified(name, schema))


def identifiers(names: Iterable[str]) -> str:
    """Return names as a list of identifiers."""
    return ", ".join(map(identifier, names))


def statement(sql: str) -> TextClause:
    """Return SQL without bound parameters as a statement; a colon in it is itself."""
    return text(sql.replace(":", "\\:"))
