"""Who writes: the pipeline, late rows and repairs by hand work; structure and stored data are out of reach."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sqlalchemy import text

from datalayer import AggregateRefresher, UnitOfWork
from datalayer.db.driver_errors import database_errors_translated
from datalayer.domain.validation import DataValidator
from datalayer.errors import DatabaseError
from datalayer.ingestion.bulk import load_candles
from datalayer.repositories import InstrumentRepository
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.reject_retry import retry_rejects
from datalayer.repositories.rejects import RejectRepository
from tests.integration.ingestion.market import (
    BTC,
    ETH,
    book,
    candle,
    pipeline,
    stored_closes,
    stored_trades,
    trade,
)
from tests.integration.roles.conftest import needs_timescaledb
from tests.own_cluster import needs_own_cluster
from tests.refreshing import refresh
from tests.sample_rows import START

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.roles.conftest import Users

pytestmark = [*needs_own_cluster, needs_timescaledb]
CHUNK = "(SELECT show_chunks('candles') LIMIT 1)"
REFUSED = (
    "DROP TABLE candles",
    "DROP MATERIALIZED VIEW candles_1m",
    "DROP FUNCTION guard_instruments() CASCADE",
    "ALTER TABLE candles ADD COLUMN extra integer",
    "ALTER TABLE instruments DISABLE TRIGGER ALL",
    "TRUNCATE candles",
    "DELETE FROM candles",
    "DELETE FROM trades",
    "DELETE FROM order_books",
    "DELETE FROM instruments",
    "DELETE FROM migration_pieces",
    "DELETE FROM rejected_records",
    "DELETE FROM feed_gaps",
    "DELETE FROM annotations",
    "UPDATE alembic_version SET version_num = '0001'",
    "CREATE TABLE own (id integer)",
    "CREATE SCHEMA own",
    "SELECT drop_chunks('trades', now())",
    f"SELECT decompress_chunk({CHUNK})",
    "SELECT remove_compression_policy('candles')",
    "SELECT alter_job(job_id, scheduled => true) FROM timescaledb_information.jobs WHERE hypertable_name = 'trades'",
    "SET ROLE datalayer_migrate",
)


@pytest.mark.parametrize("statement", REFUSED)
async def test_a_writer_takes_nothing_away(users: Users, statement: str) -> None:
    with pytest.raises(DatabaseError) as refused, database_errors_translated():
        async with users["feed"].begin() as conn:
            await conn.execute(text(statement))
    assert refused.value.sqlstate == "42501"


async def test_the_pipeline_writes_registers_and_reads_back(users: Users, tmp_path: Path) -> None:
    async with pipeline(users["feed"], tmp_path / "outbox") as market:
        for n in range(20):
            await market.ingest_ohlcv_candle(candle(n, symbol=ETH))
            await market.ingest_trade(trade(n, symbol=ETH))
            await market.ingest_orderbook_snapshot(book(n, symbol=ETH))
        await market.ingest_ohlcv_candle(candle(3, close=12.0, symbol=ETH))
        await market.ingest_ohlcv_candle(candle(4, high=1.0, symbol=ETH))
    assert (await stored_closes(users["feed"], ETH))[3] == 12.0
    assert await stored_trades(users["feed"], ETH) == list(range(20))


async def test_late_rows_go_into_compressed_chunks_and_are_recorded(users: Users) -> None:
    seconds = pd.date_range(START, periods=2_000, freq="1s", name="timestamp")
    frame = pd.DataFrame(
        {"open": 10.0, "high": 20.0, "low": 5.0, "close": 11.0, "volume": 1.5}, index=seconds
    )
    async with UnitOfWork(users["feed"]) as uow:
        await uow.instruments.ensure(BTC, 2, 5)
        await uow.commit()
    written = await load_candles(users["feed"], BTC, "1s", frame)
    assert written.updated == 2_000
    later = frame.set_axis(seconds + timedelta(hours=4))
    assert (await load_candles(users["feed"], BTC, "1s", later)).inserted == 2_000
    async with users["feed"].connect() as conn:
        assert await DirtyRangeRepository(conn).list_spans()


async def test_the_refresher_is_for_the_owner(users: Users) -> None:
    async with users["feed"].begin() as conn:
        await DirtyRangeRepository(conn).record("candles", START, START + timedelta(hours=1))
    with pytest.raises(DatabaseError, match="datalayer_migrate") as refused:
        await AggregateRefresher(users["feed"]).run(audit=False)
    assert refused.value.sqlstate == "42501"
    report = await refresh(users["datalayer_migrate"], audit=True)
    assert report.cleared >= 1
    assert not report.unfinished


async def test_quarantine_is_kept_and_tried_again(users: Users) -> None:
    record = {"ts": START, "trade_id": 10**6, "price": "-1", "size": "1", "side": 1}
    async with users["feed"].begin() as conn:
        rules = DataValidator(await InstrumentRepository(conn).ensure(BTC, 2, 5))
        await RejectRepository(conn).keep(rules.validate_trades([record]).rejected, source="test")
    async with users["feed"].begin() as conn:
        retried = await retry_rejects(conn)
    assert retried.refused
    async with users["feed"].begin() as conn:
        assert await RejectRepository(conn).resolve(sorted(retried.refused), "discarded") == len(
            retried.refused
        )
