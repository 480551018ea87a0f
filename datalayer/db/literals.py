"""Values as parts of SQL, where no parameter can be bound."""

from __future__ import annotations

from datetime import UTC, datetime

from datalayer.errors import InvalidInputError


def sql_literal(value: int | datetime) -> str:
    """Return an integer or an aware datetime as SQL; nothing that could be text.

    Raises:
        InvalidInputError: the value is naive, or of another type.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        return f"timestamptz '{value.astimezone(UTC).isoformat(sep=' ')}'"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    raise InvalidInputError("value", value, "only integers and aware datetimes become SQL literals")
