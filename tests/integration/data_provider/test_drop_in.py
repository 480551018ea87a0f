"""The drop-in beside what the old component's own tests ask of it (`tests/legacy`)."""

from __future__ import annotations

import asyncio
import threading
import warnings
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import datalayer.sync
from datalayer import Candle, CandleRepository, DataIngestionPipeline, Timeframe, UnitOfWork
from datalayer.errors import ConfigurationError, InvalidInputError, StaleDataError
from datalayer.integrations.data_provider import DataProvider, DataProviderMixin, LegacySettings
from tests.integration.provider.feeding import BTC, START, feed, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings, UnifiedDataProvider
    from tests.integration.provider.conftest import Clock


@pytest.fixture
async def filled(engine: AsyncEngine) -> None:
    await store(engine, range(130))


@pytest.fixture
def market(filled: None, settings: Settings, clock: Clock) -> Iterator[datalayer.sync.UnifiedDataProvider]:
    """Two minutes and ten seconds from the database, then as many live."""
    del filled
    cache = clock.cache()
    clock.now = START + timedelta(seconds=130)
    with datalayer.sync.UnifiedDataProvider(settings, cache=cache, symbols=[BTC], clock=clock) as provider:
        feed(cache, clock, range(130, 260))
        yield provider


class Stored:
    """Candles from elsewhere."""

    def __init__(self, market: datalayer.sync.UnifiedDataProvider) -> None:
        self._market = market
        self.asked: list[Any] = []

    async def query_ohlcv_data(
        self, symbol: str, timeframe: Timeframe | str, *, limit: int | None = None
    ) -> pd.DataFrame:
        self.asked.append((symbol, timeframe, limit))
        async with self._market.asynchronous.database.engine.connect() as conn:  # type: ignore[union-attr]
            return await CandleRepository(conn).query_ohlcv_data(
                symbol, timeframe, limit=limit, as_of=START + timedelta(minutes=2)
            )


def test_candles_come_from_where_they_are_said_to(market: datalayer.sync.UnifiedDataProvider) -> None:
    source = Stored(market)
    provider = DataProvider(market, candles=source)
    assert provider.get_historical_data(BTC, "1m", 5).index[-1] == pd.Timestamp("2024-08-08 10:01")
    assert list(provider.get_multi_timeframe_data(BTC, ["1s", "1m"], 2)) == ["1s", "1m"]
    assert source.asked == [(BTC, Timeframe.M1, 5), (BTC, Timeframe.S1, 2), (BTC, Timeframe.M1, 2)]
    assert DataProvider(market).get_historical_data(BTC, "1m", 5).index[-1] > pd.Timestamp("2024-08-08 10:01")


def test_a_price_that_may_be_too_old_is_refused(
    market: datalayer.sync.UnifiedDataProvider, clock: Clock
) -> None:
    provider = DataProvider(market)
    price = provider.get_current_price(BTC, max_age_s=5)
    assert price == 60_259.0
    assert price.source == "trade"
    assert price.at == START + timedelta(seconds=259)
    clock.now += timedelta(seconds=20)
    late = provider.get_current_price(BTC)
    assert late == price
    assert late is not None
    assert late.age_s == pytest.approx(21.1)
    with pytest.raises(StaleDataError, match="price is 21"):
        provider.get_current_price(BTC, max_age_s=5)
    with pytest.raises(StaleDataError, match="order_book"):
        provider.get_order_book(BTC, max_age_s=5)
    assert provider.get_order_book(BTC, depth=1)["bids"] == [[60_260.0, 1.0]]  # type: ignore[index]


def test_refresh_without_an_exchange_says_that_it_does_nothing(
    market: datalayer.sync.UnifiedDataProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider = DataProvider(market)
    for _ in range(2):
        assert provider.get_historical_data(BTC, "1m", refresh=True).attrs["refreshed"] is False
    assert [record.message for record in caplog.records if "refresh=True does nothing" in record.message] == [
        caplog.records[0].message
    ]


async def test_refresh_of_a_candle_that_may_not_be_closed_by_the_clock_of_the_exchange_goes_over_nothing(
    market: datalayer.sync.UnifiedDataProvider, engine: AsyncEngine, clock: Clock
) -> None:
    minute = START + timedelta(minutes=3)
    final = Candle(BTC, Timeframe.M1, minute, 60_000.0, 60_300.0, 59_900.0, 60_250.0, 5.0, 9)
    early = replace(final, high=60_200.0, close=60_190.0, volume=4.0)

    async def fetch(symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> list[Candle]:
        assert (symbol, timeframe, start, end) == (
            BTC,
            Timeframe.M1,
            minute - timedelta(minutes=1),
            final.closed_at,
        )
        return [early]

    async def close() -> float:
        async with engine.connect() as conn:
            found = await CandleRepository(conn).query_ohlcv_data(
                BTC, "1m", start=minute, end=final.closed_at
            )
        return float(found["close"].iloc[0])

    provider = DataProvider(market, fetch=fetch)
    async with UnitOfWork(engine) as uow:
        await uow.candles.upsert_candles(BTC, "1m", pd.DataFrame([final]).set_index("ts"))
        await uow.commit()
    for seconds, expected in ((1, final.close), (6, early.close)):
        clock.now = final.closed_at + timedelta(seconds=seconds)
        await asyncio.to_thread(provider.get_historical_data, BTC, "1m", 2, refresh=True)
        assert await close() == expected


def test_a_warning_points_to_the_line_that_calls(market: datalayer.sync.UnifiedDataProvider) -> None:
    provider = DataProvider(market, settings=LegacySettings(warn=True))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        provider.get_latest_candles(BTC, "1m")
    assert [warning.category for warning in told] == [DeprecationWarning]
    assert told[0].filename == __file__
    assert "market.get_multi_timeframe_data(symbol, [timeframe]" in str(told[0].message)


class Base:
    def __init__(self, name: str) -> None:
        self.name = name

    def get_current_price(self, symbol: str) -> float:
        raise NotImplementedError(symbol)


class Theirs(DataProviderMixin, Base):
    def __init__(self, market: datalayer.sync.UnifiedDataProvider) -> None:
        super().__init__("theirs")
        self.attach_data_layer(market)


def test_the_mixin_replaces_methods_of_another_base(market: datalayer.sync.UnifiedDataProvider) -> None:
    provider = Theirs(market)
    assert provider.name == "theirs"
    assert provider.get_current_price(BTC) == 60_259.0
    assert len(provider.get_latest_candles(BTC, "1m")) == 4


def test_books_reach_callbacks_and_closing_ends_them(
    market: datalayer.sync.UnifiedDataProvider, clock: Clock
) -> None:
    books: list[dict[str, Any]] = []
    has_come = threading.Event()

    def take(book: dict[str, Any]) -> None:
        books.append(book)
        has_come.set()

    with DataProvider(market) as provider:
        key = provider.subscribe(take, [BTC], "book", name="books")
        feed(market.cache, clock, range(260, 261))
        assert has_come.wait(20)
        assert provider.get_subscriber_statistics()[key].dropped == 0
    assert books[0]["timestamp"] == (START + timedelta(seconds=261)).replace(tzinfo=None)
    assert books[0]["bids"][0] == [60_261.0, 1.0]
    assert not provider.get_subscriber_statistics()
    assert [t.name for t in threading.enumerate() if "callback books" in t.name] == []


def test_a_symbol_that_is_not_known_is_subscribed_to_by_nobody(
    market: datalayer.sync.UnifiedDataProvider,
) -> None:
    provider = DataProvider(market)
    with pytest.raises(InvalidInputError, match="DOGE"):
        provider.subscribe(print, [BTC, "DOGE/USDT"], name="nobody")
    assert market.get_health().subscribers == 0
    with pytest.raises(InvalidInputError, match="max_waiting"):
        provider.subscribe(print, [BTC], max_waiting=0)
    with pytest.raises(InvalidInputError, match="give a list"):
        provider.subscribe(print, BTC)


def test_it_may_be_closed_after_its_provider(market: datalayer.sync.UnifiedDataProvider) -> None:
    provider = DataProvider(market)
    provider.subscribe(print, [BTC], name="last")
    market.close()
    provider.close()
    assert [t.name for t in threading.enumerate() if "callback last" in t.name] == []


def test_without_a_feed_streaming_is_refused(market: datalayer.sync.UnifiedDataProvider) -> None:
    provider = DataProvider(market)
    provider.stop_real_time_streaming()
    with pytest.raises(ConfigurationError, match="no feed"):
        provider.start_real_time_streaming()


def test_a_feed_that_cannot_start_says_so_and_may_be_tried_again(
    market: datalayer.sync.UnifiedDataProvider, tmp_path: Path, clock: Clock
) -> None:
    attempts = []

    @asynccontextmanager
    async def feeds(market: UnifiedDataProvider) -> AsyncIterator[None]:
        async with DataIngestionPipeline(
            market.database, outbox=tmp_path / "outbox", cache=market.cache, clock=clock.now.timestamp
        ):
            attempts.append(len(attempts))
            if len(attempts) == 1:
                msg = "the exchange is away"
                raise ConnectionError(msg)
            yield

    with DataProvider(market, feed=feeds) as provider:
        with pytest.raises(ConnectionError, match="away"):
            provider.start_real_time_streaming()
        assert not provider.is_streaming
        provider.start_real_time_streaming()
        assert provider.is_streaming
    assert not provider.is_streaming
    assert attempts == [0, 1]
