"""Every error that this library raises, in one tree.

An error carries its facts as attributes, so that callers decide by type and field and never by reading the text.
No error text contains a password: database addresses pass through `datalayer.config.redact` first.
"""

from __future__ import annotations

from typing import Any


class DataLayerError(Exception):
    """Base of all errors raised by `datalayer`."""


class InvalidInputError(DataLayerError, ValueError):
    """A value handed in by the caller cannot be used.

    Attributes:
        field: name of the argument, column or setting.
        value: the offending value as given.
        hint: what to do instead.
    """

    def __init__(self, field: str, value: Any, hint: str) -> None:
        self.field = field
        self.value = value
        self.hint = hint
        super().__init__(f"{field}={value!r}: {hint}")


class ConfigurationError(DataLayerError, ValueError):
    """A setting is missing or contradicts another one."""


class ScaleError(InvalidInputError):
    """A price or size has more decimal digits, or is larger, than its instrument's scale can hold exactly."""


class DatabaseError(DataLayerError):
    """The database refused or failed an operation.

    Attributes:
        sqlstate: the five-character SQLSTATE, or None when the server never answered.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        super().__init__(message)


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or closed the connection."""


class UnsupportedServerError(DatabaseError):
    """The server has no TimescaleDB, one that is too old, or one without the community licence."""


class MigrationError(DatabaseError):
    """A schema migration did not run; the database is as it was before that revision."""


class EmbeddedError(DataLayerError):
    """The embedded TimescaleDB could not do what was asked."""


class EmbeddedStartError(EmbeddedError):
    """The embedded TimescaleDB could not be installed or started."""


class EmbeddedInUseError(EmbeddedError):
    """Another process holds the folder and does not let this one join."""


class EmbeddedCrashedError(EmbeddedError):
    """The WebAssembly process ended by itself; what was committed to a folder is safe."""
