"""What a service and a database tell Prometheus, read over HTTP and compared with what was done."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from datalayer.cli import app
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import ConfigurationError, InvalidInputError
from datalayer.monitoring import DatabaseWatch
from datalayer.monitoring.metrics import DatabaseCollector, serve_metrics
from tests.integration.ingestion.market import BTC, trade
from tests.monitored import BOOKS, CANDLES, TRADES, fail_once, monitored, work
from tests.scraping import scrape
from tests.shell import shell_on

if TYPE_CHECKING:
    from pathlib import Path

    from datalayer.config import Settings


async def test_a_pipeline_tells_what_it_did(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        await work(service)
        found = await service.scrape()
    name = "datalayer_ingestion_"
    assert found.value(f"{name}accepted_total", kind="candle") == CANDLES + 1
    assert found.value(f"{name}stored_total", kind="trade", outcome="inserted") == TRADES
    assert found.value(f"{name}stored_total", kind="imbalance", outcome="inserted") == BOOKS
    assert found.value(f"{name}refused_total") == 1
    assert found.value(f"{name}rejected_total", kind="trade", rule="positive_price") == 1
    assert found.value(f"{name}buffered_events", kind="candle") == 0
    assert found.value(f"{name}flush_duration_seconds_count", kind="order_book") >= 1
    assert found.value("datalayer_outbox_size_bytes") > 0
    assert found.value("datalayer_outbox_full") == 0
    assert found.value("datalayer_disk_free_bytes", folder="outbox") > 0


async def test_ages_are_those_of_the_events(settings: Settings, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with monitored(settings, tmp_path) as service:
        for n, age_s in enumerate((-1.0, 20.0, 20.0, 200.0, 20_000.0)):
            await service.pipeline.ingest_trade(trade(n, ts=now - timedelta(seconds=age_s)))
        await service.pipeline.flush()
        found = await service.scrape()
    name, kind = "datalayer_ingestion_age_seconds", {"kind": "trade"}
    # What is from the exchange's future is no older than what is new; the test itself may take some seconds.
    assert found.value(f"{name}_bucket", le="10.0", **kind) == 1
    assert found.value(f"{name}_bucket", le="60.0", **kind) == 3
    assert found.value(f"{name}_bucket", le="300.0", **kind) == 4
    assert found.value(f"{name}_bucket", le="3600.0", **kind) == 4
    assert found.value(f"{name}_count", **kind) == 5
    assert 20_240 <= found.value(f"{name}_sum", **kind) < 20_400


async def test_the_age_of_a_candle_counts_from_its_close(settings: Settings, tmp_path: Path) -> None:
    opened = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    async with monitored(settings, tmp_path) as service:
        await service.pipeline.ingest_ohlcv_candle(
            {"symbol": BTC, "timeframe": "5m", "ts": opened - timedelta(minutes=opened.minute % 5)}
            | dict.fromkeys(("open", "high", "low", "close", "volume"), 10.0)
        )
        await service.pipeline.flush()
        found = await service.scrape()
    closed = opened - timedelta(minutes=opened.minute % 5 - 5)
    latest = (datetime.now(UTC) - closed).total_seconds()
    assert latest - 60 < found.value("datalayer_ingestion_age_seconds_sum", kind="candle") <= latest


async def test_reads_are_measured_where_they_happen(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        await work(service)
        found = await service.scrape()
        cached = found.value("datalayer_cache_read_duration_seconds_count", kind="ohlcv")
        service.cache.get_latest_ohlcv(BTC, "1m", 1)
        after = await service.scrape()
    assert after.value("datalayer_cache_read_duration_seconds_count", kind="ohlcv") == cached + 1
    assert found.value("datalayer_query_duration_seconds_count", kind="trades") >= 1
    assert found.value("datalayer_provider_duration_seconds_count", kind="multi_timeframe_data") == 1
    assert found.value("datalayer_provider_duration_seconds_count", kind="trades") == 1
    assert found.value("datalayer_cache_misses_total", kind="order_books") >= 1
    assert found.value("datalayer_cache_hits_total", kind="candles") >= 1


async def test_nobody_is_told_after_the_end(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        service.cache.get_latest_orderbook(BTC)
    service.cache.get_latest_orderbook(BTC)
    counted = service.metrics.registry.get_sample_value(
        "datalayer_cache_read_duration_seconds_count", {"kind": "orderbook"}
    )
    assert counted == 1


async def test_a_failed_write_is_counted_by_its_class_and_its_text_is_nowhere(
    settings: Settings, tmp_path: Path
) -> None:
    async with monitored(settings, tmp_path) as service:
        await fail_once(service, tmp_path)
        found = await service.scrape()
    assert found.value("datalayer_ingestion_retries_total", kind="trade", reason="no_answer") >= 1
    assert "127.0.0.1" not in found.text
    assert "nobody@" not in found.text


async def test_a_database_tells_what_it_holds(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        await work(service)
        found = await service.scrape()
        async with service.database.engine.connect() as conn:
            newest = await conn.scalar(text("SELECT max(ts) FROM candles WHERE timeframe = 60"))
            total = await conn.scalar(text("SELECT hypertable_size('candles')"))
    series = {"symbol": BTC, "kind": "candles", "timeframe": "1m"}
    assert found.value("datalayer_series_missing_candles", **series) == 2
    assert found.value("datalayer_series_newest_timestamp_seconds", **series) == newest.timestamp() + 60
    assert found.value("datalayer_relation_size_bytes", relation="candles") == total
    assert found.value("datalayer_relation_compressed_chunks", relation="candles") == 1
    before, after = (
        found.value(f"datalayer_relation_compression_{side}_bytes", relation="candles")
        for side in ("before", "after")
    )
    assert found.value("datalayer_relation_compression_saved_ratio", relation="candles") == 1 - after / before
    assert found.value("datalayer_schema_current") == 1
    assert found.value("datalayer_quarantine_open_records") == 1
    assert found.value("datalayer_retention_on", relation="trades") == 0


async def test_only_configured_symbols_have_series(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        await work(service)
        found = await service.scrape()
    assert found.labels("datalayer_series_newest_timestamp_seconds", "symbol") == {BTC}
    assert found.labels("datalayer_cache_newest_age_seconds", "symbol") == {BTC}
    assert "ETH" not in found.text


async def test_a_database_that_does_not_answer_has_no_old_figures(settings: Settings) -> None:
    async with DatabaseConnectionManager(settings) as database:
        watch = DatabaseWatch(database, timeout_s=60)
        hurried = DatabaseWatch(database, timeout_s=1e-6)
        assert await watch.look() is not None
        hurried.state = watch.state
        assert await hurried.look() is None
        assert hurried.failure is not None
        registry = CollectorRegistry()
        registry.register(DatabaseCollector(hurried))
        with serve_metrics(registry, port=0) as address:
            found = await scrape(address)
        with pytest.raises(InvalidInputError, match="interval_s"):
            DatabaseWatch(database, interval_s=0)
    assert set(found.families) == {"datalayer_database_up", "datalayer_database_look_duration_seconds"}
    assert found.value("datalayer_database_up") == 0


async def test_a_schema_that_is_not_there_is_told(empty_schema: Settings) -> None:
    async with DatabaseConnectionManager(empty_schema) as database:
        state = await DatabaseWatch(database).look()
    assert state is not None
    assert (state.revision, state.is_current, state.relations) == (None, False, ())


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*choose another port"),
            serve_metrics(CollectorRegistry(), port=port),
        ):
            pass


WITHOUT = """
import importlib, sys
sys.modules["prometheus_client"] = sys.modules["aiohttp"] = None
for part in ("metrics", "dashboard"):
    try:
        importlib.import_module(f"datalayer.monitoring.{part}")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_an_extra_that_is_missing_is_named() -> None:
    said = subprocess.check_output([sys.executable, "-c", WITHOUT], text=True).splitlines()
    starts = (
        "ConfigurationError metrics need prometheus-client, the extra `metrics`",
        "ConfigurationError the dashboard needs aiohttp, the extra `dashboard`",
    )
    assert all(line.startswith(start) for line, start in zip(said, starts, strict=True))


def test_the_command_serves_until_it_is_asked_to_end(settings: Settings) -> None:
    cli = shell_on(settings)
    environment = {**os.environ, **{name: value for name, value in cli.env.items() if value}}
    command = [sys.executable, "-c", "from datalayer.cli import main; main()", "metrics", "--port", "0"]
    with subprocess.Popen(
        [*command, "--disk", "here=."], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            found = asyncio.run(scrape(line.split()[-1]))
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert found.value("datalayer_database_up") == 1
    assert found.value("datalayer_disk_size_bytes", folder="here") > 0


def test_a_disk_without_a_name_is_refused(settings: Settings) -> None:
    result = shell_on(settings).invoke(app, ["metrics", "--disk", "/nowhere"])
    assert isinstance(result.exception, InvalidInputError)
    assert "data=/var/lib/postgresql" in str(result.exception)
