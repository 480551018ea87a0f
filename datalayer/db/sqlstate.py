"""What the driver said, out of the wrapping of SQLAlchemy, and what its SQLSTATE means for the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.db.role_names import MIGRATE, READ, WRITE

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

# Connection exceptions; the server shutting down, crashed or starting; sessions that it ended for being idle or too
# long; too many connections.
UNAVAILABLE: Final = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300")
READ_ONLY: Final = "25006"
SERIALIZATION_FAILURE: Final = "40001"
DEADLOCK: Final = "40P01"
UNDEFINED_TABLE: Final = "42P01"
INSUFFICIENT_PRIVILEGE: Final = "42501"

_ADVICE: Final = {
    UNDEFINED_TABLE: "is the schema deployed in this database (datalayer db upgrade), and DATALAYER_DATABASE_SCHEMA its name?",
    INSUFFICIENT_PRIVILEGE: (
        f"the user of DATALAYER_DATABASE_URL may not do this: reading needs the role {READ}, writing {WRITE}, and whatever is "
        f"for the owner of a table alone, such as refreshing aggregates, a migration or its rollback, {MIGRATE}; "
        "GRANT it that role, or run this as a user who has it (datalayer db roles makes them)"
    ),
}


def sqlstate_of(error: DBAPIError) -> str | None:
    """Return the five-character SQLSTATE, or None when the server never answered."""
    return getattr(error.orig, "sqlstate", None)


def reason_of(error: DBAPIError) -> str:
    """Return the server's own words, with its hint: no SQL, no parameters, no address."""
    cause = getattr(error.orig, "__cause__", None) or error.orig
    hint = getattr(cause, "hint", None)
    return f"{cause} ({hint})" if hint else str(cause)


def advised(reason: str, sqlstate: str | None) -> str:
    """Return the server's words with what to do about them, where the same is to be done whatever was tried."""
    return f"{reason}; {_ADVICE[sqlstate]}" if sqlstate in _ADVICE else reason


def connection_is_unusable(sqlstate: str | None) -> bool:
    """Return whether a connection that gave this error must not be used again.

    A server that refuses writes may be a primary no longer: after a failover the address leads to another one.
    """
    return sqlstate is not None and sqlstate.startswith((*UNAVAILABLE, READ_ONLY))
