"""What is known at a moment, and that nothing else gets out."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from datalayer.domain.inference_frame import InferenceDataFrame, QualityFlags
from datalayer.domain.order_book import OrderBook
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from tests.frames import inference_frames

if TYPE_CHECKING:
    from typing import Any

AS_OF = datetime(2024, 8, 8, 10, 3, tzinfo=UTC)
NAMES = ("open", "high", "low", "close", "volume")


def candles(first: str, closes: list[float], *, minutes: int = 1, **more: Any) -> pd.DataFrame:
    index = pd.date_range(
        first, periods=len(closes), freq=f"{minutes}min", tz="UTC", name="timestamp", unit="us"
    )
    return pd.DataFrame({name: np.array(closes) for name in NAMES} | more, index=index)


def frame(**parts: Any) -> InferenceDataFrame:
    defaults: dict[str, Any] = {"symbol": "BTC/USDT", "timestamp": AS_OF, "as_of": AS_OF, "candles": {}}
    return InferenceDataFrame(**defaults | parts)


MINUTES = candles("2024-08-08 10:00", [1.0, 2.0, 3.0])  # the last closes at 10:03
AFTER = candles("2024-08-08 10:03", [99.0, 98.0])
RSI = pd.DataFrame({"rsi_14": [math.nan, 40.0, 60.0]}, index=MINUTES.index)


def test_the_newest_values_are_those_of_the_last_closed_candle() -> None:
    known = frame(
        candles={Timeframe.M1: MINUTES, Timeframe.M5: candles("2024-08-08 09:55", [7.0], minutes=5)},
        indicators={Timeframe.M1: RSI},
        imbalances={"book_imbalance_1s": 0.5},
        context_after={Timeframe.M1: AFTER},
    )
    names = [
        "1m.close",
        "5m.open",
        "1m.rsi_14",
        "book_imbalance_1s",
        "volume_imbalance_60s",
        "order_book.mid",
    ]
    np.testing.assert_array_equal(known.to_numpy(names), [3.0, 7.0, 60.0, 0.5, math.nan, math.nan])
    np.testing.assert_array_equal(
        known.to_numpy(["1m.close", "1m.rsi_14"], rows=4),
        [[math.nan, math.nan], [1.0, math.nan], [2.0, 40.0], [3.0, 60.0]],
    )
    assert known.to_numpy(["1m.close"], rows=0).shape == (0, 1)
    table = known.to_pandas()
    assert list(table.loc["1m"]["close"]) == [1.0, 2.0, 3.0]
    assert list(table.loc["5m"]["close"]) == [7.0]


@given(known=inference_frames())
def test_no_feature_holds_what_came_after(known: InferenceDataFrame) -> None:
    """Change all that came after: nothing that a model or a person is handed changes."""
    other = InferenceDataFrame(
        **{
            name: getattr(known, name)
            for name in InferenceDataFrame.__slots__
            if name not in {"context_after", "__weakref__"}
        }
    )
    pd.testing.assert_frame_equal(known.to_pandas(), other.to_pandas())
    for timeframe in known.candles:
        features = [f"{timeframe.label}.{name}" for name in NAMES]
        np.testing.assert_array_equal(known.to_numpy(features), other.to_numpy(features))
        np.testing.assert_array_equal(known.to_numpy(features, rows=9), other.to_numpy(features, rows=9))


def test_a_forming_candle_is_a_feature_only_when_asked_for() -> None:
    forming = candles("2024-08-08 10:01", [1.0, 2.0, 3.0], is_forming=[False, False, True])
    known = frame(candles={Timeframe.M1: forming}, quality=QualityFlags(forming=frozenset({Timeframe.M1})))
    assert known.to_numpy(["1m.close"]) == [2.0]
    assert known.to_numpy(["1m.close"], include_forming=True) == [3.0]


BOOK = OrderBookDataFrame.from_book(
    OrderBook("BTC/USDT", AS_OF + timedelta(microseconds=1), *[np.empty(0)] * 4)
)


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"candles": {Timeframe.M1: AFTER}}, r"candles\.1m=.*10:03"),
        ({"candles": {Timeframe.H1: candles("2024-08-08 10:00", [1.0])}}, r"candles\.1h=.*10:00"),
        ({"candles": {Timeframe.M1: AFTER.assign(is_forming=True)}}, r"candles\.1m=.*10:04"),
        ({"context_before": {Timeframe.M1: AFTER}}, r"context_before\.1m"),
        ({"context_after": {Timeframe.M1: MINUTES}}, r"context_after\.1m=.*10:00"),
        ({"order_book": BOOK}, "order_book"),
        ({"as_of": AS_OF + timedelta(microseconds=1)}, "as_of"),
        ({"indicators": {Timeframe.M1: RSI}}, r"indicators\.1m"),
        (
            {
                "candles": {Timeframe.M1: MINUTES},
                "indicators": {
                    Timeframe.M1: RSI.set_axis(AFTER.index.append(MINUTES.index[:1]).sort_values())
                },
            },
            r"indicators\.1m",
        ),
    ],
)
def test_what_was_not_visible_is_refused(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}"):
        frame(**parts)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        (MINUTES.tz_localize(None), r"candles\.1m\.index"),
        (MINUTES[::-1], r"candles\.1m\.index"),
        (MINUTES.drop(columns="low"), r"candles\.1m"),
        (MINUTES.astype({"close": "float32"}), r"candles\.1m\.close"),
        (MINUTES.assign(is_forming=1), r"candles\.1m"),
    ],
)
def test_a_table_of_another_shape_is_refused(table: pd.DataFrame, field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}"):
        frame(candles={Timeframe.M1: table})


@pytest.mark.parametrize("name", ["2m.close", "1m.price", "close", "order_book.close", ""])
def test_an_unknown_feature_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="features"):
        frame(candles={Timeframe.M1: MINUTES}).to_numpy([name])


def test_rows_of_two_timeframes_are_refused() -> None:
    both = {Timeframe.M1: MINUTES, Timeframe.M5: candles("2024-08-08 09:55", [7.0], minutes=5)}
    with pytest.raises(InvalidInputError, match="one timeframe"):
        frame(candles=both).to_numpy(["1m.close", "5m.close"], rows=2)


def test_a_frame_without_candles_is_an_empty_table() -> None:
    assert len(frame().to_pandas()) == 0
    assert list(frame().to_pandas().columns) == list(NAMES)


def test_no_later_change_of_what_it_was_made_of_lets_it_look_ahead() -> None:
    table = MINUTES.copy()
    tables, imbalances = {Timeframe.M1: table}, {"book_imbalance_1s": 0.5}
    known = frame(candles=tables, imbalances=imbalances)
    table.loc[table.index[-1], "close"] = 99.0
    tables[Timeframe.M1] = AFTER
    imbalances["book_imbalance_1s"] = -1.0
    np.testing.assert_array_equal(known.to_numpy(["1m.close", "book_imbalance_1s"]), [3.0, 0.5])


def test_a_table_that_is_handed_out_is_a_copy() -> None:
    known = frame(candles={Timeframe.M1: MINUTES}, context_after={Timeframe.M1: AFTER})
    taken = known.candles[Timeframe.M1]
    taken.loc[AFTER.index[0]] = 99.0
    assert len(taken) == 4
    np.testing.assert_array_equal(known.to_numpy(["1m.close"]), [3.0])
    assert len(known.candles[Timeframe.M1]) == 3
    with pytest.raises(TypeError):
        known.candles[Timeframe.M1] = taken  # type: ignore[index]


def test_levels_that_are_handed_out_are_copies() -> None:
    known = frame(order_book=book_of("BTC/USDT", AS_OF))
    assert known.order_book is not None
    bids, asks = known.order_book.bids, known.order_book.asks
    bids.loc[0, "price"] = 99.0
    asks["later"] = 1.0
    np.testing.assert_array_equal(known.to_numpy(["order_book.best_bid", "order_book.mid"]), [100.0, 100.5])
    assert InferenceDataFrame.from_dict(known.to_dict()) == known


def test_a_book_less_than_a_microsecond_ahead_is_not_cut_back_into_sight() -> None:
    ahead = pd.Timestamp(AS_OF).as_unit("ns") + pd.Timedelta(500, "ns")
    with pytest.raises(InvalidInputError, match=r"^timestamp=.*finer than a microsecond"):
        book_of("BTC/USDT", ahead)
    with pytest.raises(InvalidInputError, match=r"^ts=.*finer than a microsecond"):
        OrderBook("BTC/USDT", ahead, *[np.empty(0)] * 4).columns()


def test_it_goes_between_processes() -> None:
    known = frame(candles={"1m": MINUTES}, sources={"candles.1m": "cache"}, order_book=None)
    assert pickle.loads(pickle.dumps(known)) == known  # noqa: S301 (our own bytes)


def book_of(symbol: str, ts: datetime, aggregation: Any = "raw") -> OrderBookDataFrame:
    levels = (np.array([value]) for value in (100.0, 1.0, 101.0, 2.0))
    return OrderBookDataFrame.from_book(OrderBook(symbol, ts, *levels), aggregation=aggregation)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (
            {"order_book": book_of("BTC/USDT", AS_OF - timedelta(seconds=10), "1m")},
            "order_book=.*not visible",
        ),
        ({"order_book": book_of("ETH/USDT", AS_OF)}, "order_book=.*another symbol"),
        ({"candles": {Timeframe.M1: candles("2024-08-08 10:00:30", [1.0])}}, r"candles\.1m=.*no open time"),
        ({"candles": {"1m": MINUTES, Timeframe.M1: MINUTES}}, "candles=.*twice"),
        ({"candles": {"1M": MINUTES}}, "timeframe='1M'"),
        ({"symbol": "BTC"}, "symbol='BTC'"),
        (
            {"candles": {"1m": MINUTES}, "indicators": {"1m": RSI.rename(columns={"rsi_14": "close"})}},
            r"indicators\.1m=\['close'\]",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{reason}"):
        frame(**parts)


def test_a_minute_of_books_is_known_when_it_is_over() -> None:
    known = frame(order_book=book_of("BTC/USDT", AS_OF - timedelta(minutes=1), "1m"))
    assert known.to_numpy(["order_book.mid"]) == [100.5]


def test_indicators_on_some_rows_stay_on_their_rows() -> None:
    known = frame(candles={Timeframe.M1: MINUTES}, indicators={Timeframe.M1: RSI.iloc[[1]]})
    np.testing.assert_array_equal(
        known.to_numpy(["1m.rsi_14", "1m.close"], rows=3), [[math.nan, 1.0], [40.0, 2.0], [math.nan, 3.0]]
    )
