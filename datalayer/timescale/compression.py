"""Compressing the chunks of a hypertable or continuous aggregate, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# An aggregate keeps its rows in a hypertable of its own, for which the size functions ask.
_STORAGE = """
    COALESCE(
        (SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
         FROM timescaledb_information.continuous_aggregates
         WHERE format('%I.%I', view_schema, view_name)::regclass = quote_ident(:relation)::regclass),
        quote_ident(:relation)::regclass
    )
"""
_CHUNKS = text("SELECT chunk::text FROM show_chunks(quote_ident(:relation)::regclass) AS chunk")
_COMPRESS = text("SELECT compress_chunk(CAST(CAST(:chunk AS text) AS regclass), if_not_compressed => true)")
_STATISTICS = text(f"""
    SELECT count(*) AS chunks,
           COALESCE(sum(before_compression_total_bytes), 0)::bigint AS bytes_before,
           COALESCE(sum(after_compression_total_bytes), 0)::bigint AS bytes_after
    FROM chunk_compression_stats({_STORAGE}) WHERE compression_status = 'Compressed'
""")
_SIZE = text(f"SELECT COALESCE(hypertable_size({_STORAGE}), 0)")


@dataclass(frozen=True, slots=True)
class CompressionResult:
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


async def compress_chunks(engine: AsyncEngine, relation: str) -> CompressionResult:
    """Compress all chunks that are not, each in a transaction of its own. May be repeated.

    Args:
        engine: on a database where `relation` has compression enabled.
        relation: hypertable or continuous aggregate on the search path, unquoted.

    Returns:
        Figures of all compressed chunks of the relation, those of earlier calls included.
    """
    async with engine.connect() as conn:
        chunks = (await conn.scalars(_CHUNKS, {"relation": relation})).all()
        await conn.rollback()
        for chunk in chunks:
            async with conn.begin():
                await conn.execute(_COMPRESS, {"chunk": chunk})
        return await compression_result(conn, relation)


async def compression_result(conn: AsyncConnection, relation: str) -> CompressionResult:
    """Return the figures of the compressed chunks of `relation`."""
    row = (await conn.execute(_STATISTICS, {"relation": relation})).one()
    return CompressionResult(row.chunks, row.bytes_before, row.bytes_after)


async def hypertable_size(conn: AsyncConnection, relation: str) -> int:
    """Return the bytes of a hypertable or continuous aggregate: rows, indexes, compressed and not."""
    return int(await conn.scalar(_SIZE, {"relation": relation}) or 0)
