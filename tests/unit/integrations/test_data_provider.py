"""The parts of the drop-in that need no database."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from datalayer.domain.symbols import SymbolSpelling
from datalayer.errors import InvalidInputError
from datalayer.integrations.data_provider import CurrentPrice, DataProviderMixin, LegacySettings
from datalayer.integrations.data_provider.subscriber import Subscriber, SubscriberStatistics

OPENED = pd.DatetimeIndex(["2024-10-27 00:30", "2024-10-27 01:30"], tz="UTC").as_unit("us")
CANDLES = pd.DataFrame(
    {"open": 1.0, "high": 3.0, "low": 0.5, "close": 2.0, "volume": 9.0, "source": "stored"}, index=OPENED
)
OLD_NAMES = ("time", "o", "h", "l", "c", "vol")


def test_frames_have_old_names_and_integers() -> None:
    frame = LegacySettings(columns=OLD_NAMES, index="integer", times="milliseconds").frame(
        CANDLES, symbol="X"
    )
    assert list(frame.columns) == list(OLD_NAMES)
    assert frame.index.equals(pd.RangeIndex(2))
    assert frame["time"].tolist() == [1_729_989_000_000, 1_729_992_600_000]
    assert frame["vol"].tolist() == [9.0, 9.0]
    assert frame.attrs == {"symbol": "X"}


def test_naive_times_are_of_the_zone_that_was_named() -> None:
    frame = LegacySettings(zone="Europe/Sofia").frame(CANDLES)
    assert [str(time) for time in frame.index] == ["2024-10-27 03:30:00"] * 2  # the hour that comes twice
    assert str(LegacySettings(times="aware").frame(CANDLES).index.dtype) == "datetime64[ns, UTC]"


def test_moments_are_read_as_answers_write_them() -> None:
    moment = datetime(2024, 8, 8, 10, tzinfo=UTC)
    for settings in (
        LegacySettings(),
        LegacySettings(zone="Europe/Sofia"),
        LegacySettings(times="aware"),
        LegacySettings(times="milliseconds"),
    ):
        assert settings.moment(settings.time(moment), "timestamp") == moment
        assert settings.moment(moment, "timestamp") == moment


@pytest.mark.parametrize(
    ("settings", "time"),
    [
        (LegacySettings(times="aware"), datetime(2024, 8, 8)),  # noqa: DTZ001 (naive on purpose)
        (LegacySettings(zone="Europe/Sofia"), datetime(2024, 10, 27, 3, 30)),  # noqa: DTZ001 (twice)
        (LegacySettings(zone="Europe/Sofia"), datetime(2024, 3, 31, 3, 30)),  # noqa: DTZ001 (not at all)
        (LegacySettings(), 1_729_989_000_000),
        (LegacySettings(), "2024-08-08"),
    ],
)
def test_a_time_that_can_mean_several_is_refused(settings: LegacySettings, time: Any) -> None:
    with pytest.raises(InvalidInputError, match="timestamp="):
        settings.moment(time, "timestamp")


@pytest.mark.parametrize(
    "wrong",
    [{"columns": ("a",) * 6}, {"index": "time"}, {"times": "s"}, {"zone": "Sofia"}, {"symbols": "BTC.USDT"}],
)
def test_settings_that_say_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        LegacySettings(**wrong)


def test_symbols_are_spelled_as_before() -> None:
    assert LegacySettings(symbols=SymbolSpelling.JOINED).spelled("BTC/USDT") == "BTCUSDT"


def test_a_price_is_a_float_that_knows_its_age() -> None:
    price = CurrentPrice(1.5, datetime(2024, 8, 8, tzinfo=UTC), 2.0, "trade")
    assert price + 1 == 2.5
    again = pickle.loads(pickle.dumps(price))  # noqa: S301 (ours)
    assert (again, again.at, again.age_s, again.source) == (price, price.at, 2.0, "trade")


def test_a_slow_callback_loses_the_oldest_and_is_counted() -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow(event: int) -> None:
        begun.set()
        go_on.wait(10)
        seen.append(event)

    subscriber = Subscriber("slow", slow, 3)
    subscriber.put(lambda: 0)
    assert begun.wait(10)
    for number in range(1, 11):
        subscriber.put(lambda number=number: number)  # type: ignore[misc]
    assert subscriber.statistics == SubscriberStatistics(delivered=0, failed=0, dropped=7, waiting=3)
    go_on.set()
    while subscriber.statistics.delivered < 4:
        threading.Event().wait(0.01)
    assert seen == [0, 8, 9, 10]
    subscriber.close()
    subscriber.join(10)
    subscriber.put(lambda: 11)
    assert seen == [0, 8, 9, 10]


def test_a_callback_may_end_itself() -> None:
    done = threading.Event()

    def once(_: int) -> None:
        subscriber.close()
        subscriber.join(10)  # itself: does not wait
        done.set()

    subscriber = Subscriber("once", once, 3)
    subscriber.put(lambda: 1)
    assert done.wait(10)
    subscriber.join(10)
    assert subscriber.statistics.delivered == 1


def test_each_old_method_says_what_replaces_it() -> None:
    old = {name: method for name, method in vars(DataProviderMixin).items() if hasattr(method, "replaced_by")}
    assert set(old) == {
        "get_historical_data",
        "get_latest_candles",
        "get_data",
        "get_current_price",
        "get_multi_timeframe_data",
        "get_order_book",
        "subscribe",
        "unsubscribe",
    }
    for method in old.values():
        assert f"New: `{method.replaced_by}`" in (method.__doc__ or "")
