"""`datalayer ingest`: it streams until it is told to end, and says how it ended."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from datalayer import UnitOfWork
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market
from tests.ingest_service import started
from tests.integration.feeds.feeding import BTC, check_candles, check_trades
from tests.own_cluster import free_port
from tests.scraping import scrape

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings


async def test_until_a_signal(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    market, port = load_market(most=1_000), free_port()
    async with BinanceServer([market]) as server:
        arguments = ("BTCUSDT", "--candles", "1s", "--metrics-port", str(port))
        process = await started(settings, server, tmp_path / "o", *arguments)
        assert process.stdout is not None
        await server.play()
        while True:
            told = json.loads(await process.stdout.readline())
            if told["events"].get("trades") == len(market.trades):
                break
        scraped = await scrape(f"http://127.0.0.1:{port}/metrics")
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    assert told["is_healthy"]
    assert scraped.value("datalayer_ingestion_accepted_total", kind="trade") == len(market.trades)
    assert scraped.value("datalayer_disk_free_bytes", folder="outbox") > 0
    assert scraped.value("datalayer_feed_connections", exchange="binance", state="up") == len(
        told["connections"]
    )
    assert scraped.value("datalayer_feed_events_total", exchange="binance", kind="trades") == len(
        market.trades
    )
    assert await check_trades(engine, market, []) == len(market.trades)
    async with UnitOfWork(engine) as uow:
        assert (await uow.instruments.get(BTC)).price_scale == 2


async def test_a_killed_process_leaves_no_hole(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    """Killed in the middle, and started again later: every trade is there, and every second that is made from them."""
    market = load_market(most=1_500)
    arguments = ("BTCUSDT", "--candles", "1m")
    async with BinanceServer([market]) as server:
        process = await started(settings, server, tmp_path / "o", *arguments)
        await server.play(end=700)
        assert process.stdout is not None
        while not json.loads(await process.stdout.readline())["stored"]["trade"]:
            pass
        process.kill()
        await process.communicate()
        for _ in range(200):
            market.advance()
        process = await started(settings, server, tmp_path / "o", *arguments)
        assert process.stdout is not None
        await server.play()
        while True:
            told = json.loads(await process.stdout.readline())
            if (
                told["gaps"].get("filled")
                and not told["gaps"].get("open")
                and not any(told["waiting"].values())
            ):
                break
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
    await check_trades(engine, market, [], first_id=market.trades[0]["t"])
    first, last = market.klines["1s"][1]["t"], market.trades[-1]["T"] // 1_000 * 1_000
    assert await check_candles(engine, market, "1s", start_ms=first, end_ms=last, silent=False) > 10


@pytest.mark.usefixtures("engine")
async def test_a_symbol_that_the_exchange_does_not_have(settings: Settings, tmp_path: Path) -> None:
    async with BinanceServer([load_market(most=1_000)]) as server:
        process = await started(settings, server, tmp_path / "o", "NOPE-NADA")
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"symbol='NOPE/NADA': not in this exchangeInfo" in errors
