"""What a database holds, in a line a relation: two databases with the same lines hold the same rows.

To be compared after a restore, an upgrade of the server, or a move to another one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.driver_errors import database_errors_translated
from datalayer.timescale import list_jobs
from datalayer.timescale.quoting import identifier

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.config import Settings

_RELATIONS: Final = text("""
    SELECT c.relname AS name, h.hypertable_name IS NOT NULL OR a.view_name IS NOT NULL AS is_timed,
           (SELECT count(*) FROM timescaledb_information.chunks AS k WHERE k.is_compressed
              AND (k.hypertable_schema, k.hypertable_name) IN (
                  (n.nspname, c.relname), (a.materialization_hypertable_schema, a.materialization_hypertable_name)
              )) AS compressed_chunks
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN timescaledb_information.hypertables AS h ON (h.hypertable_schema, h.hypertable_name) = (n.nspname, c.relname)
    LEFT JOIN timescaledb_information.continuous_aggregates AS a ON (a.view_schema, a.view_name) = (n.nspname, c.relname)
    WHERE n.nspname = current_schema() AND (c.relkind = 'r' OR a.view_name IS NOT NULL)
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.relname
""")
# A sum does not depend on the order of rows, and unlike XOR it does not lose two that are equal. The text of a row is exact,
# floating point included; times are in the time zone of the session, which is UTC.
_ROWS: Final = """
    SELECT count(*), COALESCE(sum(hashtextextended(CAST(r AS text), 0)), 0)::text, COALESCE(sum(hashtextextended(CAST(r AS text), 1)), 0)::text
    FROM {relation} AS r {where}
"""


@dataclass(frozen=True, slots=True)
class RelationDigest:
    """What a table or aggregate holds.

    Attributes:
        relation: its name; `(policies)`: what the database does by itself, with windows and state.
        rows: how many there are.
        digest: 32 hexadecimal digits of all values of all rows, whatever their order.
        compressed_chunks: chunks that are compressed, wholly or in part.
    """

    relation: str
    rows: int
    digest: str
    compressed_chunks: int


async def digest_database(settings: Settings, end: datetime | None = None) -> list[RelationDigest]:
    """Return a digest of each table and aggregate of the schema, and one of the policies, in the order of names.

    All rows are read. They are not of one moment: what is to be compared must not change meanwhile.

    Args:
        settings: database and schema.
        end: only rows with times before it, aware, of hypertables and aggregates; None: all. Other tables are taken whole.

    Raises:
        ConfigurationError: no database is configured, or it is behind a transaction pooler.
        DatabaseError: the server refuses, or the connection is lost.
    """
    with database_errors_translated():
        async with (
            DatabaseConnectionManager(settings.for_maintenance()) as database,
            database.engine.connect() as conn,
        ):
            found = (await conn.execute(_RELATIONS)).all()
            relations = [await _digest(conn, row, end) for row in found]
            return [*relations, await _policies(conn)]


async def _digest(conn: AsyncConnection, relation: Row[Any], end: datetime | None) -> RelationDigest:
    is_cut = relation.is_timed and end is not None
    query = _ROWS.format(relation=identifier(relation.name), where="WHERE r.ts < :end" if is_cut else "")
    rows, *sums = (await conn.execute(text(query), {"end": end} if is_cut else {})).one()
    return RelationDigest(relation.name, rows, _short(" ".join(sums)), relation.compressed_chunks)


async def _policies(conn: AsyncConnection) -> RelationDigest:
    jobs = await conn.run_sync(list_jobs)
    told = [
        (job.kind.name, job.relation, job.scheduled, job.schedule_interval, sorted(job.windows.items()))
        for job in jobs
    ]
    return RelationDigest("(policies)", len(jobs), _short(repr(told)), 0)


def _short(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:32]
