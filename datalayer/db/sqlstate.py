"""What the driver said, out of the wrapping of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError


def sqlstate_of(error: DBAPIError) -> str | None:
    """Return the five-character SQLSTATE, or None when the server never answered."""
    return getattr(error.orig, "sqlstate", None)


def reason_of(error: DBAPIError) -> str:
    """Return the server's own words, with its hint: no SQL, no parameters, no address."""
    cause = getattr(error.orig, "__cause__", None) or error.orig
    hint = getattr(cause, "hint", None)
    return f"{cause} ({hint})" if hint else str(cause)
