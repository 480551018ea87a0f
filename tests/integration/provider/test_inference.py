"""Answers of `get_inference_data`: what is in them, how old it may be, and what is said of what came late."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import event

from datalayer import Timeframe, UnifiedDataProvider
from datalayer.domain.indicators import Ema, Macd, Rsi
from datalayer.errors import InvalidInputError, NoDataError, ProviderClosedError, StaleDataError
from datalayer.provider import ProviderSettings
from tests.integration.provider.feeding import BTC, SECOND, START, book, candle, feed, store
from tests.query_plans import shipped_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.cache import DataCacheManager
    from tests.integration.provider.conftest import Clock


@pytest.fixture
def cache(clock: Clock) -> DataCacheManager:
    return clock.cache()


@pytest.fixture
async def live(
    engine: AsyncEngine, clock: Clock, cache: DataCacheManager
) -> AsyncIterator[UnifiedDataProvider]:
    """A provider whose process has the feed; 700 seconds went by, of which the database has 500."""
    await store(engine, range(0))
    async with UnifiedDataProvider(engine, cache=cache, symbols=[BTC], indicators=[Ema(20)]) as provider:
        feed(cache, clock, range(500))
        await store(engine, range(500))
        feed(cache, clock, range(500, 700))
        yield provider


async def test_everything_of_a_moment_is_in_one_answer(live: UnifiedDataProvider, clock: Clock) -> None:
    found = await live.get_inference_data("btcusdt", candles=10)
    assert (found.symbol, found.timestamp) == (BTC, clock.now)
    assert found.as_of == START + 700 * SECOND
    assert list(found.candles) == list(Timeframe)
    seconds, minutes = found.candles[Timeframe.S1], found.candles[Timeframe.M1]
    assert list(seconds["close"]) == [60_000.0 + number for number in range(690, 700)]
    assert list(minutes["is_forming"]) == [False] * 9 + [True]
    assert minutes["volume"].iloc[-2:].tolist() == [30.0, 20.0]
    assert found.order_book is not None
    assert found.order_book.best_bid == 60_700.0
    assert found.imbalances["book_imbalance_1s"] == found.order_book.imbalances["book_imbalance_1s"] == 0.5
    assert np.isnan(found.imbalances["volume_imbalance_1s"])
    assert found.quality.missing_candles[Timeframe.M1] == 0
    assert found.quality.staleness_s["candles.1m"] == 40.0
    assert not found.quality.stale - {"candles.15m", "candles.1h", "candles.4h", "candles.1d"}
    assert found.sources["candles.1s"] == "cache: stored"
    assert found.sources["candles.1m"] == "cache: aggregate, forming"
    assert list(found.indicators[Timeframe.S1].columns) == ["ema_20"]
    assert list(found.indicators[Timeframe.S1].index) == list(seconds.index)


async def test_the_context_is_of_whole_candles_on_either_side_of_the_moment(
    live: UnifiedDataProvider,
) -> None:
    moment = START + timedelta(seconds=330.5)
    found = await live.get_inference_data(BTC, moment, 1.0, timeframes=["1s", "1m", "5m"])
    before, after = found.context_before, found.context_after
    opens = [(START + number * SECOND) for number in range(271, 390)]
    assert list(before[Timeframe.S1].index) == [one for one in opens if one + SECOND <= moment]
    assert list(after[Timeframe.S1].index) == [one for one in opens if one + SECOND > moment]
    assert list(before[Timeframe.M1].index) == []
    assert list(after[Timeframe.M1].index) == [START + timedelta(minutes=5)]
    assert Timeframe.M5 not in after or not len(after[Timeframe.M5])
    assert found.candles[Timeframe.S1].index[-1] == START + 329 * SECOND
    assert "context" not in found.to_pandas().to_string()
    wide = await live.get_inference_data(BTC, moment, 60.0, timeframes=["1s", "1m"])
    assert len(wide.context_before[Timeframe.S1]) == 330
    assert wide.context_after[Timeframe.S1].index[-1] == START + 699 * SECOND
    assert len(wide.context_after[Timeframe.M1]) == 6
    none = await live.get_inference_data(BTC, moment, 0.0)
    assert not none.context_before
    assert not none.context_after


async def test_live_there_is_no_future(live: UnifiedDataProvider) -> None:
    found = await live.get_inference_data(BTC, context_window_minutes=30)
    assert not found.context_after
    assert len(found.context_before[Timeframe.S1]) == 700


async def test_an_indicator_does_not_depend_on_how_many_rows_are_asked_for(live: UnifiedDataProvider) -> None:
    few = await live.get_inference_data(BTC, candles=5, indicators=[Ema(20), Rsi(14), Macd()])
    many = await live.get_inference_data(BTC, candles=200, indicators=[Ema(20), Rsi(14), Macd()])
    for timeframe, table in few.indicators.items():
        assert table.equals(many.indicators[timeframe].iloc[-5:])
    assert not few.indicators[Timeframe.S1].isna().any(axis=None)


async def test_an_answer_waits_for_what_is_on_its_way_and_no_longer(
    live: UnifiedDataProvider, clock: Clock, cache: DataCacheManager
) -> None:
    """Second 700 is over, and neither its candle nor a later book has come: what is known of it is nothing, until 2 s passed."""
    clock.now = START + timedelta(seconds=701.5)
    found = await live.get_inference_data(BTC)
    assert (found.as_of, dict(found.quality.unconfirmed_s)) == (START + 700 * SECOND, {})
    clock.now = START + timedelta(seconds=704)
    found = await live.get_inference_data(BTC)
    assert found.as_of == START + 702 * SECOND
    assert found.quality.unconfirmed_s == {
        "candles.1s": pytest.approx(1.000001),
        "order_book": 2.0,
        "imbalances": 2.0,
    } | {part: age for part, age in found.quality.unconfirmed_s.items() if part.startswith("candles.")}
    assert (await live.get_health()).late == {}
    cache.put_candle(candle(701))
    late = (await live.get_health()).late[BTC]
    assert (late.count, late.last_visible_from, late.last_came_at) == (1, START + 702 * SECOND, clock.now)
    again = await live.get_inference_data(BTC, found.as_of)
    assert again.candles[Timeframe.S1].index[-1] == START + 701 * SECOND
    assert found.candles[Timeframe.S1].index[-1] == START + 699 * SECOND
    cache.put_candle(candle(702))  # in time
    cache.put_orderbook(book(703))
    assert (await live.get_health()).late[BTC].count == 1


async def test_the_moment_of_the_call_is_taken_where_nothing_is_waited_for(
    engine: AsyncEngine, clock: Clock, cache: DataCacheManager
) -> None:
    await store(engine, range(3))
    async with UnifiedDataProvider(engine, cache=cache, settings=ProviderSettings(settle_s=0)) as provider:
        feed(cache, clock, range(3, 70))
        clock.now += timedelta(seconds=0.7)
        assert (await provider.get_inference_data(BTC)).as_of == clock.now


async def test_stale_data_are_marked_and_refused(
    live: UnifiedDataProvider, clock: Clock, cache: DataCacheManager
) -> None:
    found = await live.get_inference_data(BTC, timeframes=["1s", "1m"], max_age_s=1)
    assert found.quality.stale == frozenset()
    clock.now += timedelta(seconds=30)
    for number in range(701, 731):
        cache.put_candle(candle(number))
    found = await live.get_inference_data(BTC, timeframes=["1s", "1m"])
    assert found.quality.stale == {"order_book", "imbalances"}
    with pytest.raises(
        StaleDataError, match=r"order_book is 30.1 s old, and max_age_s=5; is its feed alive"
    ) as error:
        await live.get_inference_data(BTC, timeframes=["1s", "1m"], max_age_s=5)
    assert (error.value.part, error.value.symbol, error.value.lag_s) == ("order_book", BTC, 2.0)
    await live.get_inference_data(BTC, timeframes=["1s"], max_age_s={"candles.1s": 5})
    await live.get_inference_data(BTC, timeframes=["1s"], max_age_s=5, include_order_book=False)
    with pytest.raises(StaleDataError):
        await live.get_order_book_data(BTC, max_age_s=5)
    with pytest.raises(InvalidInputError, match=r"is no part of the answer; use candles\.1s"):
        await live.get_inference_data(BTC, timeframes=["1s"], max_age_s={"candles.7s": 5})
    clock.now += timedelta(seconds=200)
    with pytest.raises(StaleDataError, match=r"candles\.1s is"):
        await live.get_multi_timeframe_data(BTC, ["1s"], limit=5, max_age_s=60)


async def test_an_answer_from_history_asks_for_nothing_twice(
    engine: AsyncEngine, live: UnifiedDataProvider
) -> None:
    sent: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    with shipped_queries() as queries:
        await live.get_inference_data(BTC, START + timedelta(seconds=330.5))
    event.remove(engine.sync_engine, "before_cursor_execute", note)
    assert [
        sum(table in statement for statement in sent) for table in ("FROM instruments", "dirty_ranges")
    ] == [
        1,
        1,
    ]
    assert sum("order_book" in query for query in queries) == 1
    assert sum("forming" in query for query in queries) == 1
    assert len(set(queries)) == len(queries)


async def test_an_age_counts_to_the_moment_of_the_call(
    engine: AsyncEngine, live: UnifiedDataProvider, clock: Clock, cache: DataCacheManager
) -> None:
    """Books go on, imbalances do not come: the answer waits for them, and gives the book of the moment that it is of."""
    for number in range(1, 19):
        clock.now = START + timedelta(seconds=700.1 + number / 10)
        cache.put_orderbook(book(700, after_s=number / 10))
    asked: dict[str, Any] = {"timeframes": ["1s"], "include_forming": False}
    found = await live.get_inference_data(BTC, max_age_s={"order_book": 3}, **asked)
    assert (found.timestamp, found.as_of) == (clock.now, START + timedelta(seconds=700))
    assert found.quality.staleness_s["order_book"] == 0.0
    with pytest.raises(
        StaleDataError, match=r"is 1.9 s old, and max_age_s=1; 1.9 s of it is how far"
    ) as error:
        await live.get_inference_data(BTC, max_age_s={"order_book": 1}, **asked)
    assert (error.value.age_s, error.value.lag_s) == (1.9, 1.9)
    later = await live.get_inference_data(BTC, found.as_of, max_age_s={"order_book": 1}, **asked)
    assert later.as_of == found.as_of
    hasty = ProviderSettings(settle_s=0.5)
    async with UnifiedDataProvider(engine, cache=cache, symbols=[BTC], settings=hasty) as provider:
        found = await provider.get_inference_data(BTC, max_age_s={"order_book": 1}, **asked)
    assert found.as_of == clock.now - timedelta(seconds=0.5)


async def test_without_a_feed_everything_comes_from_the_database(engine: AsyncEngine, clock: Clock) -> None:
    await store(engine, range(100))
    clock.now = START + 103 * SECOND
    async with UnifiedDataProvider(engine, cache=clock.cache()) as provider:
        found = await provider.get_inference_data(BTC)
        assert provider.symbols == (BTC,)
    assert found.as_of == START + 101 * SECOND
    assert found.sources["order_book"] == "database"
    assert found.order_book is not None
    assert found.order_book.timestamp == START + 100 * SECOND
    assert found.candles[Timeframe.S1].index[-1] == START + 99 * SECOND


async def test_a_moment_without_data_says_what_is_stored(live: UnifiedDataProvider) -> None:
    with pytest.raises(NoDataError) as error:
        await live.get_inference_data(BTC, datetime(2020, 1, 1, tzinfo=START.tzinfo))
    assert (
        "BTC/USDT has no data visible at 2020-01-01T00:00:00+00:00; stored: candles 1s 2024-08-08T10:00:00+00:00 to"
        in str(error.value)
    )
    assert error.value.stored[1].startswith("trades 2024-08-08T10:00:00+00:00 to")
    with pytest.raises(NoDataError, match=r"no candles 1m from 2020.*before 2021.*stored: candles 1s"):
        await live.get_multi_timeframe_data(
            BTC, ["1m"], datetime(2020, 1, 1, tzinfo=START.tzinfo), datetime(2021, 1, 1, tzinfo=START.tzinfo)
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbol": "BTCUSD"}, r"is not known; did you mean BTC/USDT\? the provider was made for: BTC/USDT"),
        ({"symbol": "XRP/EUR"}, r"is not known; the provider was made for: BTC/USDT"),
        ({"timeframes": ["1m", "7m"]}, r"'7m': use one of 1s, 1m, 5m, 15m, 1h, 4h, 1d"),
        ({"timeframes": "1m"}, r"give a list"),
        ({"timeframes": ["1m", "60s"]}, r"\['1m'\]: name each once"),
        ({"timestamp": datetime(2024, 8, 8, 10)}, r"naive; .* as in 2024-08-08T10:00:00\+00:00"),  # noqa: DTZ001
        ({"timestamp": START + timedelta(days=1)}, r"is in the future \(it is 2024-08-08T10:11:40"),
        ({"candles": 0}, r"candles=0: give a whole number, 1 or more"),
        ({"context_window_minutes": -1}, r"give minutes, 0 or more"),
        ({"indicators": ["ema"]}, r"give indicators, as in \[Ema\(20\)"),
        ({"indicators": [Ema(20), Ema(20)]}, r"two of them make this column"),
    ],
)
async def test_a_wrong_question_is_told_what_to_ask(
    engine: AsyncEngine, clock: Clock, arguments: dict[str, object], message: str
) -> None:
    clock.now = START + 700 * SECOND
    async with UnifiedDataProvider(engine, cache=clock.cache(), symbols=[BTC]) as provider:
        with pytest.raises(InvalidInputError, match=message):
            await provider.get_inference_data(**({"symbol": BTC} | arguments))  # type: ignore[arg-type]


async def test_a_timeframe_that_the_provider_was_not_made_for(engine: AsyncEngine, clock: Clock) -> None:
    await store(engine, range(10))
    async with UnifiedDataProvider(engine, cache=clock.cache(), timeframes=["1m", "1h"]) as provider:
        assert provider.timeframes == (Timeframe.M1, Timeframe.H1)
        with pytest.raises(InvalidInputError, match="was not made for it; use one of 1m, 1h"):
            await provider.get_multi_timeframe_data(BTC, ["5m"], limit=1)


async def test_a_provider_that_is_not_open_says_so(engine: AsyncEngine) -> None:
    provider = UnifiedDataProvider(engine)
    with pytest.raises(ProviderClosedError, match="use `async with`"):
        await provider.get_inference_data(BTC)
    async with provider:
        pass
    with pytest.raises(ProviderClosedError):
        await provider.get_trades(BTC, limit=1)
