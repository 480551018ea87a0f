"""Who only reads: everything can be read, and nothing written on any way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer import UnifiedDataProvider
from datalayer.db.driver_errors import database_errors_translated
from datalayer.errors import DatabaseError
from datalayer.monitoring import inspect_database
from datalayer.repositories import (
    CandleRepository,
    CoverageRepository,
    ImbalanceRepository,
    OrderBookRepository,
    TradeRepository,
)
from tests.integration.roles.conftest import needs_timescaledb
from tests.own_cluster import needs_own_cluster
from tests.sample_rows import END, START

if TYPE_CHECKING:
    from tests.integration.roles.conftest import Users

pytestmark = [*needs_own_cluster, needs_timescaledb]
SYMBOL = "BTC/USDT"
CHUNK = "(SELECT show_chunks('candles') LIMIT 1)"
WRITES = (
    "INSERT INTO candles SELECT * FROM candles LIMIT 1",
    "UPDATE candles SET close = close + 1",
    "DELETE FROM trades",
    "TRUNCATE order_books",
    "WITH gone AS (DELETE FROM trades RETURNING *) SELECT count(*) FROM gone",
    "COPY trades FROM PROGRAM 'true'",
    "COPY instruments TO '/dev/null'",
    "SELECT * FROM instruments FOR SHARE",
    "UPDATE rejected_records_decoded SET message = ''",
    "UPDATE alembic_version SET version_num = '0001'",
    "DROP TABLE candles",
    "CREATE TABLE own (id integer)",
    "CREATE TEMPORARY TABLE own (id integer)",
    "CREATE FUNCTION own() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA own",
    "SELECT drop_chunks('trades', now())",
    f"SELECT decompress_chunk({CHUNK})",
    "SELECT add_retention_policy('candles', INTERVAL '1 day')",
    "SELECT alter_job(job_id, scheduled => true) FROM timescaledb_information.jobs WHERE hypertable_name = 'trades'",
    "SELECT set_chunk_time_interval('candles', INTERVAL '1 day')",
    "UPDATE _timescaledb_catalog.continuous_aggs_watermark SET watermark = 0",
    "SET ROLE datalayer_write",
)


@pytest.mark.parametrize("statement", WRITES)
async def test_a_reader_cannot_write(users: Users, statement: str) -> None:
    with pytest.raises(DatabaseError) as refused, database_errors_translated():
        async with users["model"].begin() as conn:
            await conn.execute(text(statement))
    assert refused.value.sqlstate == "42501"
    assert "GRANT it that role" in str(refused.value)


async def test_a_reader_cannot_write_to_what_stores_an_aggregate_or_a_chunk(users: Users) -> None:
    async with users["model"].connect() as conn:
        stored = await conn.scalars(
            text("""
                SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                WHERE tableowner = 'datalayer_migrate' AND schemaname = '_timescaledb_internal'
            """)
        )
        names = stored.all()
        rights = await conn.scalars(
            text("""
                SELECT name FROM unnest(CAST(:names AS text[])) AS name
                WHERE has_table_privilege(name, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            """),
            {"names": names},
        )
        assert len(names) > 20
        assert rights.all() == []


async def test_a_reader_reads_everything(users: Users) -> None:
    async with users["model"].connect() as conn:
        views = await conn.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        )
        for name in views.all():
            assert await conn.scalar(text(f"SELECT count(*) FROM {name}")) > 0, name
        candles = CandleRepository(conn)
        for timeframe in ("1s", "1m", "1h"):
            assert len(await candles.query_ohlcv_data(SYMBOL, timeframe, start=START, end=END)) > 0
        aligned = await candles.query_multi_timeframe_ohlcv(SYMBOL, ["1s", "1m"], start=START, end=END)
        assert len(aligned) > 0
        assert len(await TradeRepository(conn).query_trades(SYMBOL, START, END)) > 0
        books = OrderBookRepository(conn)
        assert len(await books.query_orderbook_snapshots(SYMBOL, START, END)) > 0
        assert len(await books.query_orderbook_aggregated(SYMBOL, "1m", START, END)) > 0
        assert len(await ImbalanceRepository(conn).query_orderbook_imbalances(SYMBOL, START, END)) > 0
        assert len(await CoverageRepository(conn).list_stored_ranges()) > 0
        assert (await CoverageRepository(conn).query_coverage(SYMBOL, "1m", START, END)) is not None


async def test_a_reader_watches_the_database(users: Users) -> None:
    async with users["model"].connect() as conn:
        state = await inspect_database(conn)
    assert state.is_current
    assert {relation.name for relation in state.relations} >= {"candles", "candles_1d", "trades"}
    assert len(state.jobs) > 20


async def test_a_reader_has_a_provider(users: Users) -> None:
    async with UnifiedDataProvider.from_settings(users.settings("model")) as market:
        then = await market.get_inference_data(SYMBOL, START + timedelta(hours=1))
        assert then.to_pandas() is not None
        frames = await market.get_multi_timeframe_data(SYMBOL, ["1m", "1h"], limit=5)
        assert len(frames["1m"]) == 5
