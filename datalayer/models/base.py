"""What all models share: names of constraints, and how a hypertable is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from datalayer.timescale import Compression, Hypertable

if TYPE_CHECKING:
    from datalayer.models.windows import Windows

NAMING_CONVENTION: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Base(DeclarativeBase):
    """Base of all models. No schema is named: the connection's `search_path` decides where the tables live."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def hypertable(windows: Windows, **compression: Any) -> Hypertable:
    """Return what makes a table a hypertable on `ts`, compressed by the columns that reads and upserts name."""
    return Hypertable(
        "ts",
        chunk_interval=windows.chunk_interval,
        compression=Compression(**compression),
        policies=windows.ageing,
    )
