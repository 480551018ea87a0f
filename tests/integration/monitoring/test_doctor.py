"""`datalayer doctor` and `datalayer status`: each fault is made for real, found, and said how to mend."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from datalayer.cli import app
from datalayer.config import Settings
from datalayer.db import migrations
from datalayer.db.connection import DatabaseConnectionManager, create_engine
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.monitoring import DatabaseWatch, HealthLimits, Verdict, diagnose, inspect_database
from datalayer.monitoring.checks import drift
from datalayer.timescale import compress_chunks
from tests.conftest import new_database
from tests.integration.ingestion.market import pipeline, trade
from tests.late_rows import BTC, seconds, write_books, write_candles
from tests.own_cluster import free_port
from tests.shell import shell_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from typer.testing import Result

    from datalayer.monitoring import DatabaseState, Finding

OK, WARNING, PROBLEM = Verdict
MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def transaction(settings: Settings) -> AsyncIterator[AsyncConnection]:
    engine = create_engine(settings.require_url(), settings)
    async with engine.begin() as conn:
        yield conn
    await engine.dispose()


async def state_of(settings: Settings, **options: Any) -> DatabaseState:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return await inspect_database(conn, **options)


async def found(settings: Settings, check: str, limits: HealthLimits | None = None) -> list[Finding]:
    return [one for one in diagnose(await state_of(settings), limits) if one.check == check]


async def job(conn: AsyncConnection, kind: str, relation: str) -> int:
    number: int = (
        await conn.execute(
            text(
                "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()"
                " AND proc_name LIKE :kind AND hypertable_name = :relation"
            ),
            {"kind": f"%{kind}%", "relation": relation},
        )
    ).scalar_one()
    return number


@pytest.fixture
async def own_database() -> AsyncIterator[Settings]:
    """A migrated database of this test alone, for faults that would outlive it."""
    async with new_database() as url:
        settings = Settings.load(database_url=url)
        await migrations.upgrade(settings)
        yield settings


async def call(settings: Settings, *arguments: str) -> Result:
    return await asyncio.to_thread(shell_on(settings).invoke, app, list(arguments))


async def fill(
    settings: Settings, *, age: timedelta = timedelta(0), minutes: int = 30, hole: int = 0, symbol: str = BTC
) -> datetime:
    """Write 1m candles up to some time ago; returns the last open time."""
    async with transaction(settings) as conn:
        now: datetime = (await conn.execute(text("SELECT date_trunc('minute', now())"))).scalar_one()
        last = now - age - MINUTE
        times = seconds(last - (minutes - 1) * MINUTE, minutes, step=60)
        await write_candles(conn, times.delete(slice(5, 5 + hole)), timeframe=Timeframe.M1, symbol=symbol)
    return last


async def test_all_is_well(settings: Settings) -> None:
    await fill(settings)
    findings = diagnose(await state_of(settings))
    assert [one for one in findings if one.verdict is not OK] == []
    assert [one.check for one in findings] == [
        *("database", "schema", "policies", "jobs", "aggregates", "freshness", "gaps"),
        *("compression", "retention", "quarantine", "disk"),
    ]
    assert drift(await migrations.check(settings)).verdict is OK


async def test_a_schema_that_is_behind(empty_schema: Settings) -> None:
    await migrations.upgrade(empty_schema, "0003")
    (one,) = await found(empty_schema, "schema")
    assert (one.verdict, one.todo) == (PROBLEM, "`datalayer db upgrade`")
    assert one.found.startswith("at revision 0003, this package wants ")


async def test_no_schema_at_all(empty_schema: Settings) -> None:
    (one,) = await found(empty_schema, "schema")
    assert (one.verdict, one.found[:16]) == (PROBLEM, "at revision base")


async def test_policies_that_were_removed_or_paused_and_retention_that_lags(own_database: Settings) -> None:
    # One after the other: a database of its own takes seconds to make.
    await pause_a_policy(own_database)
    await leave_chunks_to_retention(own_database)
    async with transaction(own_database) as conn:
        await conn.execute(text("SELECT remove_compression_policy('trades')"))
    (one,) = await found(own_database, "policies")
    assert (one.verdict, one.found) == (PROBLEM, "trades has no compression policy")
    compared = drift(await migrations.check(own_database))
    assert compared.verdict is PROBLEM
    assert compared.found.startswith("add_compression_policy trades: compress_after '2 days'")


async def pause_a_policy(own_database: Settings) -> None:
    async with transaction(own_database) as conn:
        number = await job(conn, "refresh", "candles_1h")
        await conn.execute(text(f"SELECT alter_job({number}, scheduled => false)"))
    (one,) = await found(own_database, "policies")
    assert (one.verdict, one.found) == (WARNING, "the refresh policy of candles_1h is paused")
    async with transaction(own_database) as conn:
        assert one.todo is not None
        await conn.execute(text(one.todo.split("`")[1]))
    (one,) = await found(own_database, "policies")
    assert one.verdict is OK


@pytest.mark.native
async def test_a_policy_that_is_late(own_database: Settings) -> None:
    async with transaction(own_database) as conn:  # the scheduler of a test's database is stopped
        number = await job(conn, "compression", "candles")
        await conn.execute(text(f"SELECT alter_job({number}, next_start => now() - interval '3 hours')"))
    (one,) = await found(own_database, "jobs")
    assert (one.verdict, one.found) == (PROBLEM, "1 policies are late, compression of candles by 3 h")


@pytest.mark.native
async def test_a_policy_that_failed(own_database: Settings) -> None:
    await fill(own_database)
    async with transaction(own_database) as conn:
        storage = await conn.scalar(
            text(
                "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
                " FROM timescaledb_information.continuous_aggregates WHERE view_name = 'order_book_1s'"
            )
        )
        await conn.execute(
            text("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'the disk is on fire'; END $$""")
        )
        await conn.execute(
            text(f"CREATE TRIGGER refuse BEFORE INSERT ON {storage} FOR EACH ROW EXECUTE FUNCTION refuse()")
        )
    async with transaction(own_database) as conn:
        await write_books(conn, seconds(datetime.now(UTC) - timedelta(hours=1), 10))
        number = await job(conn, "refresh", "order_book_1s")
        await conn.execute(text(f"SELECT alter_job({number}, next_start => now())"))
    async with transaction(own_database) as conn:
        await conn.execute(text("SELECT _timescaledb_functions.start_background_workers()"))
    failed: list[Finding] = []
    async with asyncio.timeout(60):
        while not failed:
            await asyncio.sleep(0.5)
            jobs = await found(own_database, "jobs")
            failed = [one for one in jobs if "refresh of order_book_1s" in one.found]
    async with transaction(own_database) as conn:  # a server may have reasons of its own
        reasons = await conn.scalars(
            text(f"SELECT err_message FROM timescaledb_information.job_errors WHERE job_id = {number}")
        )
    assert failed[0].verdict is PROBLEM
    assert failed[0].found.partition(": ")[2] in set(reasons)
    assert "CALL run_job(" in (failed[0].todo or "")


async def test_late_rows_that_nobody_refreshes(settings: Settings) -> None:
    async with transaction(settings) as conn:
        await write_candles(conn, seconds(datetime(2024, 2, 29, tzinfo=UTC), 10))
    assert (await found(settings, "aggregates"))[0].verdict is OK
    async with transaction(settings) as conn:
        await conn.execute(text("UPDATE dirty_ranges SET recorded_at = now() - interval '3 hours'"))
    (one,) = await found(settings, "aggregates")
    assert one.verdict is WARNING
    assert one.found == "1 ranges with late rows wait to be refreshed, the oldest for 3 h"
    assert "`datalayer aggregates refresh`" in (one.todo or "")


async def test_a_series_that_goes_on_no_more(settings: Settings) -> None:
    await fill(settings, age=timedelta(hours=3))
    (one,) = await found(settings, "freshness")
    assert (one.verdict, one.found) == (PROBLEM, "BTC/USDT goes on no more: last candles 1m 3 h ago")
    patient = HealthLimits(stale_after=timedelta(hours=4))
    assert (await found(settings, "freshness", patient))[0].verdict is OK


async def test_a_series_that_has_ended_is_not_stale(settings: Settings) -> None:
    await fill(settings, age=timedelta(days=9))
    (one,) = await found(settings, "freshness")
    assert (one.verdict, one.found) == (OK, "0 live series, all fresh; 1 ended")


async def test_a_candle_is_fresh_for_its_length(settings: Settings) -> None:
    async with transaction(settings) as conn:
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        await write_candles(conn, [day - timedelta(days=1)], timeframe=Timeframe.D1)
    assert (await found(settings, "freshness"))[0].verdict is OK


async def test_a_hole(settings: Settings) -> None:
    await fill(settings, hole=3)
    (one,) = await found(settings, "gaps")
    assert (one.verdict, one.found) == (WARNING, "BTC/USDT candles 1m misses 3 in the day before its last")
    assert one.todo == "`datalayer coverage BTC/USDT 1m` lists them"
    result = await call(settings, "coverage", "BTC/USDT", "1m", "--json")
    assert json.loads(result.stdout)["missing"] == 3


async def test_chunks_that_are_not_compressed(settings: Settings) -> None:
    await fill(settings, age=timedelta(days=40))
    (one,) = await found(settings, "compression")
    assert (one.verdict, one.found) == (WARNING, "chunks that should be compressed and are not: candles 1")
    engine = create_engine(settings.require_url(), settings)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        assert one.todo is not None
        await conn.execute(text(one.todo.split("`")[1]))  # what it says mends it
    await engine.dispose()
    (one,) = await found(settings, "compression")
    assert one.verdict is OK


async def test_compression_that_saves_little(settings: Settings) -> None:
    async with transaction(settings) as conn:  # prices without any order cannot be told in few bytes
        await write_candles(conn, [datetime(2024, 2, 29, tzinfo=UTC)])
        await conn.execute(
            text("""
                INSERT INTO candles (instrument_id, timeframe, ts, open, high, low, close, volume, trade_count)
                SELECT id, 1, '2024-02-29'::timestamptz + n * interval '1 second', p, p + r4, 1, p, r3, r4 % 1000000
                FROM (SELECT id, n, 1 + (random() * 1e15)::bigint AS p, (random() * 1e15)::bigint AS r3, (random() * 1e15)::bigint AS r4
                      FROM instruments, generate_series(1, 90000) AS n) AS noise
            """)
        )
    engine = create_engine(settings.require_url(), settings)
    saved = (await compress_chunks(engine, "candles")).saved
    await engine.dispose()
    (one,) = await found(settings, "compression")
    assert one.verdict is WARNING
    assert one.found == f"candles saves {saved:.1%}, less than 80%"


async def leave_chunks_to_retention(own_database: Settings) -> None:
    async with transaction(own_database) as conn:
        await write_candles(conn, [datetime(2024, 2, 29, tzinfo=UTC)])
        await conn.execute(
            text("""INSERT INTO trades (instrument_id, ts, trade_id, price, size, side)
                    SELECT id, '2024-02-29', 1, 1, 1, 1 FROM instruments""")
        )
    (one,) = await found(own_database, "retention")
    assert one.verdict is OK
    assert "the paused ones keep everything" in one.found
    result = await call(own_database, "db", "policies", "--resume-retention")
    assert result.exit_code == 0
    (one,) = await found(own_database, "retention")
    assert (one.verdict, one.found) == (
        PROBLEM,
        "chunks that are older than their policy lets them be: trades 1",
    )


async def test_records_in_quarantine(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    async with pipeline(engine, tmp_path / "o") as ingestion:
        await ingestion.ingest_trade(trade(price=-1.0))
        await ingestion.ingest_trade(trade(price=-2.0))
        await ingestion.flush()
    (one,) = await found(settings, "quarantine")
    assert (one.verdict, one.found) == (WARNING, "2 records: positive_price 2")


async def test_disks(settings: Settings, tmp_path: Path) -> None:
    state = await state_of(settings)

    def look(low: float, full: float) -> Finding:
        limits = HealthLimits(disk_low=low, disk_full=full)
        return diagnose(state, limits, folders={"here": tmp_path})[-1]

    assert look(0.0, 0.0).verdict is OK
    assert look(1.0, 0.0).verdict is WARNING
    assert look(1.0, 1.0).verdict is PROBLEM
    assert look(1.0, 1.0).found.startswith("here: ")
    with pytest.raises(InvalidInputError, match="disk_low"):
        HealthLimits(disk_low=-0.1)


@pytest.mark.native
async def test_a_server_that_refuses_writes(own_database: Settings) -> None:
    async with transaction(own_database) as conn:
        name = await conn.scalar(text("SELECT current_database()"))
        await conn.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    (one,) = await found(own_database, "database")
    assert one.verdict is PROBLEM
    assert one.found.endswith("read-only")


@pytest.mark.native
async def test_a_database_that_lets_nobody_in_any_more(own_database: Settings) -> None:
    async with DatabaseConnectionManager(own_database) as database:
        watch = DatabaseWatch(database)
        assert await watch.look() is not None
        url = own_database.require_url()
        beside = own_database.load(
            database_url=url.set(database="postgres").render_as_string(hide_password=False)
        )
        async with transaction(beside) as conn:
            await conn.execute(text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false'))
            inside = (
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"
            )
            await conn.execute(text(inside))
        assert await watch.look() is None
        assert "not currently accepting connections" in (watch.failure or "")


def test_a_server_that_is_not_there() -> None:
    settings = Settings.load(database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    result = shell_on(settings).invoke(app, ["doctor", "--json"])
    assert result.exit_code == 4
    (one,) = json.loads(result.stdout)["findings"]
    assert (one["check"], one["verdict"]) == ("database", "problem")
    assert "DATALAYER_DATABASE_URL" in one["todo"]


async def test_exit_codes_and_what_is_printed(settings: Settings) -> None:
    await fill(settings)
    well = await call(settings, "doctor")
    assert well.exit_code == 0, well.output
    assert "drift" in well.stdout
    assert (await call(settings, "status")).exit_code == 0
    await fill(settings, age=timedelta(minutes=40), minutes=2)
    warned = await call(settings, "doctor", "--json")
    assert warned.exit_code == 3, warned.output
    document = json.loads(warned.stdout)
    assert document["verdict"] == "warning"
    assert [one["check"] for one in document["findings"] if one["verdict"] != "ok"] == ["gaps"]
    await fill(settings, age=timedelta(hours=1), symbol="ETH/USDT")
    late = await call(settings, "status")
    assert late.exit_code == 4
    assert "1 problem, 1 warning: `datalayer doctor` says what to do" in late.stdout


async def test_status_as_json(settings: Settings) -> None:
    last = await fill(settings, minutes=10)
    document = json.loads((await call(settings, "status", "--json")).stdout)
    (series,) = document["series"]
    assert (series["symbol"], series["kind"], series["timeframe"]) == (BTC, "candles", "1m")
    assert datetime.fromisoformat(series["last"]) == last
    assert series["missing_in_last_day"] == 0
    (candles,) = [one for one in document["relations"] if one["name"] == "candles"]
    assert candles["chunks"] >= 1
    assert candles["size_bytes"] > 0
    assert document["verdict"] == "ok"
    assert {one["policy"] for one in document["jobs"]} == {"compression", "refresh", "retention"}
