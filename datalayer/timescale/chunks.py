"""The chunks of a hypertable or continuous aggregate: listing them, compressing them, and what that saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from datalayer.timescale.ddl import storage
from datalayer.timescale.quoting import statement
from datalayer.timescale.server import Server

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a hypertable or of what an aggregate has materialised.

    Attributes:
        name: with its schema, quoted where needed.
        range_start: first moment, inclusive, UTC; None: of an integer time column.
        range_end: end, exclusive, UTC; None: of an integer time column.
        is_compressed: it is in columnstore.
    """

    name: str
    range_start: datetime | None
    range_end: datetime | None
    is_compressed: bool


@dataclass(frozen=True, slots=True)
class CompressionStatistics:
    """What the compressed chunks of a relation took before and take now, indexes included.

    Attributes:
        chunks: how many chunks are compressed.
        bytes_before: their size when they were compressed.
        bytes_after: their size since.
    """

    chunks: int
    bytes_before: int
    bytes_after: int

    @property
    def saved(self) -> float:
        """Saved share in [0, 1]; NaN when nothing is compressed."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else float("nan")


def list_chunks(connection: Connection, relation: str, *, schema: str | None = None) -> list[Chunk]:
    """Return the chunks of a hypertable or continuous aggregate, oldest first.

    Args:
        connection: a connection; `await conn.run_sync(list_chunks, "candles")` for an async one.
        relation: its name, unquoted.
        schema: None: the first of the search path that has it.
    """
    rows = connection.execute(
        statement(f"""
            SELECT format('%I.%I', chunk_schema, chunk_name) AS name, range_start, range_end, is_compressed
            FROM timescaledb_information.chunks
            WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = {storage((schema, relation))}
            ORDER BY range_start, range_start_integer, chunk_name
        """)
    )
    return [Chunk(*row) for row in rows]


def compression_statistics(
    connection: Connection, relation: str, *, schema: str | None = None
) -> CompressionStatistics:
    """Return the figures of the compressed chunks of a hypertable or continuous aggregate; arguments as for `list_chunks`."""
    function = Server.of(connection).function("chunk_compression_stats")
    row = connection.execute(
        statement(f"""
            SELECT count(*) AS chunks,
                   COALESCE(sum(before_compression_total_bytes), 0)::bigint AS bytes_before,
                   COALESCE(sum(after_compression_total_bytes), 0)::bigint AS bytes_after
            FROM {function}({storage((schema, relation))}) WHERE compression_status = 'Compressed'
        """)
    ).one()
    return CompressionStatistics(row.chunks, row.bytes_before, row.bytes_after)


def chunk_sizes(connection: Connection, relation: str, *, schema: str | None = None) -> dict[str, int]:
    """Return the bytes of each chunk, indexes and what is compressed included, by names as `list_chunks` gives them."""
    function = Server.of(connection).function("chunks_detailed_size")
    rows = connection.execute(
        statement(f"""
            SELECT format('%I.%I', chunk_schema, chunk_name) AS name, COALESCE(sum(total_bytes), 0)::bigint AS bytes
            FROM {function}({storage((schema, relation))}) GROUP BY 1
        """)
    )
    return {row.name: row.bytes for row in rows}


def relation_size(connection: Connection, relation: str, *, schema: str | None = None) -> int:
    """Return the bytes of a hypertable or continuous aggregate: rows, indexes, compressed and not."""
    function = Server.of(connection).function("hypertable_size")
    return int(connection.scalar(statement(f"SELECT {function}({storage((schema, relation))})")) or 0)


async def compress_chunks(
    engine: AsyncEngine, relation: str, *, schema: str | None = None
) -> CompressionStatistics:
    """Compress all chunks that are not, each in a transaction of its own. May be repeated.

    Args:
        engine: on a database where `relation` has compression enabled.
        relation: hypertable or continuous aggregate, unquoted.
        schema: None: the first of the search path that has it.

    Returns:
        Figures of all compressed chunks of the relation, those of earlier calls included.
    """
    async with engine.connect() as conn:
        server = await conn.run_sync(Server.of)
        chunks = await conn.run_sync(list_chunks, relation, schema=schema)
        await conn.rollback()
        compress = text(
            f"SELECT {server.function('compress_chunk')}(CAST(CAST(:chunk AS text) AS regclass), if_not_compressed => true)"
        )
        for chunk in chunks:
            if not chunk.is_compressed:
                async with conn.begin():
                    await conn.execute(compress, {"chunk": chunk.name})
        return await conn.run_sync(compression_statistics, relation, schema=schema)
