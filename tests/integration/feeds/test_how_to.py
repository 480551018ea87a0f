"""The code of `docs/how-to/feeds.md` runs, against the local exchange."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market
from tests.integration.documentation.examples import page_blocks, run
from tests.integration.feeds.feeding import check_trades

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings


async def test_the_page(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATALAYER_DATABASE_URL", settings.require_url().render_as_string(hide_password=False))
    markets = [load_market("BTCUSDT", most=500), load_market("ETHUSDT", most=500)]
    async with BinanceServer(markets) as server:
        local = f"BinanceSpot(socket_url={server.socket_url!r}, rest_url={server.rest_url!r})"
        names: dict[str, Any] = {}
        for block in page_blocks("docs/how-to/feeds.md"):
            await run(block.replace("BinanceSpot()", local), "feeds.md", names)
        main = asyncio.create_task(names["main"]())
        for market in markets:
            await server.play(market.pair)
        await asyncio.sleep(1)
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)
    assert names["settings"].book_levels == 10
    assert await check_trades(engine, markets[0], []) == len(markets[0].trades)
