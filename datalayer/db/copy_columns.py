"""Columns as PostgreSQL's binary COPY format sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PgType: TypeAlias = Literal["int2", "int4", "int8", "float8", "timestamptz", "int8[]"]

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"

WIRE_TYPES: Final[dict[str, str]] = {
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "float8": ">f8",
    "timestamptz": ">i8",
}
INT8_OID: Final = 20

# PostgreSQL counts microseconds from 2000-01-01; its two ends of int64 mean infinity.
POSTGRES_EPOCH_US: Final = 946_684_800_000_000
INFINITY_US: Final = np.iinfo(np.int64).max
MINUS_INFINITY_US: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of a batch.

    Attributes:
        name: column of the table, or of the query.
        pg_type: its PostgreSQL type.
        data: array `[n]` of the matching numpy dtype, datetime64[us] (UTC) for timestamptz; for `int8[]` an int64
            array `[n, width]` of which each row's first `lengths` elements count.
        valid: bool array `[n]`, False where the value is NULL; None when no value is NULL. Not for `int8[]`.
        lengths: for `int8[]`, the number of elements of each row, `[n]`.
    """

    name: str
    pg_type: PgType
    data: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    lengths: NDArray[np.int64] | None = None

    def rows(self, selection: slice | NDArray[Any]) -> Column:
        """Return the column with the selected rows only."""
        return Column(
            self.name,
            self.pg_type,
            self.data[selection],
            None if self.valid is None else self.valid[selection],
            None if self.lengths is None else self.lengths[selection],
        )
