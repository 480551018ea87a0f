"""The service that takes data in needs no more than the rights to write."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from datalayer import UnitOfWork
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market
from tests.ingest_service import started
from tests.integration.feeds.feeding import BTC
from tests.integration.roles.conftest import needs_timescaledb
from tests.own_cluster import needs_own_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.roles.conftest import Users

pytestmark = [*needs_own_cluster, needs_timescaledb]


async def test_ingest_as_a_writer(users: Users, tmp_path: Path) -> None:
    market = load_market(most=500)
    async with BinanceServer([market]) as server:
        process = await started(users.settings("feed"), server, tmp_path / "o", "BTCUSDT", "--candles", "1s")
        assert process.stdout is not None
        await server.play()
        while f'"trades": {len(market.trades)}'.encode() not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    async with UnitOfWork(users["model"]) as uow:
        stored = await uow.trades.query_trades(BTC, datetime(2024, 8, 8, tzinfo=UTC))
    assert set(stored["trade_id"]) >= {trade["t"] for trade in market.trades}
