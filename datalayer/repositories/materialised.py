"""What continuous aggregates have materialised, and which parts of it are out of date.

Reads go to the hypertable behind an aggregate and not through its view. The view computes at query time what is not
materialised; it reads where that begins while the query is planned, and sees nothing of what a refresh commits in the
meantime; over several levels it cannot hand a range of time down, and is planned for longer than it is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

_MATERIALISED: Final = """
    SELECT a.user_view_name AS name, format('%I.%I', h.schema_name, h.table_name) AS storage,
        greatest(_timescaledb_functions.to_timestamp(mark.watermark), timestamptz '0001-01-01Z') AS end_ts,
        NULL::timestamptz AS start_ts
    FROM _timescaledb_catalog.continuous_agg AS a
    JOIN _timescaledb_catalog.continuous_aggs_watermark AS mark USING (mat_hypertable_id)
    JOIN _timescaledb_catalog.hypertable AS h ON h.id = a.mat_hypertable_id
    WHERE a.user_view_name = ANY(:names)
        AND format('%I.%I', a.user_view_schema, a.user_view_name)::regclass = to_regclass(a.user_view_name)
"""
_WITH_DIRTY: Final = text(f"""{_MATERIALISED}
    UNION ALL SELECT NULL, NULL, end_ts, start_ts FROM dirty_ranges
    WHERE relation = :relation AND start_ts < :end AND end_ts > :start ORDER BY start_ts, end_ts
""")


@dataclass(frozen=True, slots=True)
class Materialised:
    """Where an aggregate keeps what it has materialised.

    Attributes:
        table: the hypertable, quoted, with its schema.
        end: nothing that begins here or later is materialised, aware.
    """

    table: str
    end: datetime


async def read_materialised(conn: AsyncConnection, names: Iterable[str]) -> dict[str, Materialised]:
    """Return by name what continuous aggregates have materialised by now.

    It only grows. What a query that comes after this one finds before `end` is all there is.

    Raises:
        DatabaseError: there is no such aggregate on the search path, or the server refuses.
    """
    wanted = list(names)
    with driver_errors_translated():
        rows = (await conn.execute(text(_MATERIALISED), {"names": wanted})).all()
    return _by_name(wanted, rows)


async def read_materialised_and_dirty(
    conn: AsyncConnection, names: Iterable[str], source: str, start: datetime, end: datetime
) -> tuple[dict[str, Materialised], tuple[tuple[datetime, datetime], ...]]:
    """Do as `read_materialised`, and add where the source in `[start, end)` was written to since it was materialised.

    Both as of one moment, so a refresh does no harm that comes before or after it.

    Returns:
        By name; and half-open ranges, ascending.

    Raises:
        DatabaseError: there is no such aggregate on the search path, or the server refuses.
    """
    wanted = list(names)
    values = {"names": wanted, "relation": source, "start": start, "end": end}
    with driver_errors_translated():
        rows = (await conn.execute(_WITH_DIRTY, values)).all()
    dirty = tuple((row.start_ts, row.end_ts) for row in rows if row.name is None)
    return _by_name(wanted, [row for row in rows if row.name is not None]), dirty


def _by_name(wanted: Sequence[str], rows: Sequence[Row[Any]]) -> dict[str, Materialised]:
    found = {row.name: Materialised(row.storage, row.end_ts) for row in rows}
    if missing := [name for name in wanted if name not in found]:
        msg = f"no continuous aggregate {', '.join(missing)}; run `alembic upgrade head`"
        raise DatabaseError(msg)
    return found
