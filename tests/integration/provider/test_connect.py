"""A ready provider in one line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import datalayer
import datalayer.sync
from datalayer import DatabaseConnectionManager, Settings, UnifiedDataProvider, UnitOfWork, connect
from datalayer.errors import ConfigurationError
from tests.conftest import new_database
from tests.integration.provider.feeding import BTC, START, feed, store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.integration.provider.conftest import Clock


async def test_without_an_address_an_embedded_database_is_made_ready_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.load(embedded_dir=tmp_path / "default")
    with caplog.at_level(logging.WARNING):
        async with connect(settings=settings) as market, UnitOfWork(market.database) as uow:
            await uow.instruments.ensure(BTC, 2, 5)
            await uow.commit()
    assert str(tmp_path / "default") in caplog.text
    assert "production wants a server" in caplog.text
    async with connect(settings=settings) as market:
        assert market.symbols == (BTC,)
    async with market:  # and again
        assert (await market.get_health()).database.answers


async def test_a_server_without_the_schema_names_the_command() -> None:
    async with (
        new_database() as url,
        DatabaseConnectionManager(Settings.load(database_url=url)) as database,
    ):
        with pytest.raises(ConfigurationError, match="run `datalayer db upgrade`"):
            await UnifiedDataProvider(database).open()


async def test_it_loads_the_symbols_that_it_is_made_for(
    engine: AsyncEngine, settings: Settings, clock: Clock
) -> None:
    await store(engine, range(600))
    feed(clock.cache(), clock, range(600))
    cache = clock.cache()
    url = settings.require_url().render_as_string(hide_password=False)
    async with connect(url, symbols=["btcusdt", "ETH/USDT"], timeframes=["1s", "1m"], cache=cache) as market:
        assert market.symbols == (BTC, "ETH/USDT")
        assert market.cache is cache
        assert len(cache.get_latest_ohlcv(BTC, "1m", 20)) == 10
        found = await market.get_inference_data(BTC)
        assert found.candles[datalayer.Timeframe.M1].index[-1] == START.replace(minute=9)


async def test_a_symbol_that_is_registered_later_is_known_then(engine: AsyncEngine, clock: Clock) -> None:
    async with UnifiedDataProvider(engine, cache=clock.cache()) as market:
        assert market.symbols == ()
        with pytest.raises(datalayer.errors.InvalidInputError, match="registered are: none, until"):
            await market.get_trades(BTC, limit=1)
        await store(engine, range(10))
        clock.now = START.replace(minute=1)
        assert len(await market.get_trades(BTC, limit=3)) == 3


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    environment = os.environ | {"DATALAYER_EMBEDDED_DIR": str(tmp_path / "market")}
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WriteCounts(inserted=1, updated=0, unchanged=0)" in done.stdout
    assert "is_forming" in done.stdout
