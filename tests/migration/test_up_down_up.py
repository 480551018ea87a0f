"""Up, down and up again, with data and with compressed chunks, leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.db import migrations
from datalayer.db.aggregates import refresh_aggregates
from datalayer.db.connection import create_engine
from datalayer.db.migration_losses import list_losses
from datalayer.timescale import compress_chunks
from tests.catalog import describe_schema, list_traces
from tests.sample_rows import END, START, fill_every_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.config import Settings

COMPRESSED = (
    "candles",
    "trades",
    "order_books",
    "order_book_imbalances",
    "candles_1m",
    "candles_1d",
    "order_book_1s",
)

LEDGER = {"migration_runs", "migration_files", "migration_pieces", "rollout_phases", "shadow_reads"}
ANNOTATIONS = {"annotations", "annotation_data"}


@pytest.fixture
async def own_engine(empty_schema: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(empty_schema.require_url(), empty_schema)
    yield engine
    await engine.dispose()


async def fill_and_compress(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
    await refresh_aggregates(engine, "candles", START, END)
    await refresh_aggregates(engine, "order_books", START, END)
    for relation in COMPRESSED:
        assert (await compress_chunks(engine, relation)).chunks >= 1


@pytest.mark.parametrize("schema_name", ["own", 'My "Data'])
async def test_up_down_up_with_compressed_chunks_leaves_no_trace(
    empty_schema: Settings, own_engine: AsyncEngine
) -> None:
    await migrations.upgrade(empty_schema, "0001")
    await migrations.downgrade(empty_schema, "base")
    async with own_engine.connect() as conn:
        empty = await list_traces(conn)
    await migrations.upgrade(empty_schema)
    async with own_engine.connect() as conn:
        first = await describe_schema(conn)
    await fill_and_compress(own_engine)

    assert await migrations.downgrade(empty_schema, "base") is None
    async with own_engine.connect() as conn:
        assert await list_traces(conn) == empty

    assert await migrations.upgrade(empty_schema) == migrations.history()[-1].id
    async with own_engine.connect() as conn:
        assert await describe_schema(conn) == first


async def test_switching_compression_off_keeps_all_rows(
    empty_schema: Settings, own_engine: AsyncEngine
) -> None:
    await migrations.upgrade(empty_schema)
    await fill_and_compress(own_engine)
    counts = text(
        "SELECT (SELECT count(*) FROM candles), (SELECT count(*) FROM trades), (SELECT sum(candle_count) FROM candles_1m)"
    )
    async with own_engine.connect() as conn:
        before = (await conn.execute(counts)).one()

    await migrations.downgrade(empty_schema, "0012")
    async with own_engine.connect() as conn:
        assert (await conn.execute(counts)).one() == before
        assert not [line for line in await describe_schema(conn) if line.startswith("compression")]

    await migrations.upgrade(empty_schema)
    assert (await compress_chunks(own_engine, "candles")).chunks == 1


async def test_losses_of_a_downgrade_are_named(empty_schema: Settings, own_engine: AsyncEngine) -> None:
    await migrations.upgrade(empty_schema)
    assert await list_losses(empty_schema, "base") == []
    await fill_and_compress(own_engine)

    losses = {loss.relation: loss.rows for loss in await list_losses(empty_schema, "base")}
    assert losses["candles"] == 7200
    assert losses["candles_1m"] == 120
    assert losses["rejected_records"] == 1
    assert {loss.relation for loss in await list_losses(empty_schema, "0008")} == {
        "rejected_records",
        "dirty_ranges",
        *LEDGER,
        *ANNOTATIONS,
        "feed_gaps",
    }
    assert {loss.relation for loss in await list_losses(empty_schema, "0016")} == ANNOTATIONS | {"feed_gaps"}
    assert {loss.relation for loss in await list_losses(empty_schema, "0014")} == {
        *LEDGER,
        *ANNOTATIONS,
        "feed_gaps",
    }
