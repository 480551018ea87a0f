"""What all models share: names of constraints, and how a hypertable is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from datalayer.models.window_lint import lint
from datalayer.models.windows import ALL_WINDOWS, windows_of

if TYPE_CHECKING:
    from datetime import timedelta

NAMING_CONVENTION: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

lint(ALL_WINDOWS)


class Base(DeclarativeBase):
    """Base of all models. No schema is named: the connection's `search_path` decides where the tables live."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def hypertable(table: str) -> dict[str, Any]:
    """Return the table arguments that declare `table` a hypertable on `ts`, with the chunk interval of its windows.

    They are those of the `sqlalchemy-timescaledb` dialect.
    """
    return {
        "timescaledb_hypertable": {
            "time_column_name": "ts",
            "chunk_time_interval": _interval(windows_of(table).chunk_interval),
        }
    }


def _interval(length: timedelta) -> str:
    return f"{length.days} days" if not length.seconds else f"{int(length.total_seconds())} seconds"
