"""The short way lets nothing pass that a rule refuses, gives the very steps of the rules, and takes what feeds send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer import Candle, DataValidator, Instrument, OrderBook, Timeframe, Trade
from datalayer.domain.steps import to_steps
from datalayer.domain.trade import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from datalayer.domain.validation import ValidationResult

NOW = datetime(2024, 8, 8, 12, tzinfo=UTC)
NOW_US = round(NOW.timestamp()) * 1_000_000
VALIDATOR = DataValidator(Instrument(1, "BTC/USDT", 2, 5))
CANDLE = Candle("BTC/USDT", Timeframe.M1, NOW, 61837.64, 61860.0, 61830.01, 61855.5, 12.34567, 5)
TRADE = Trade("BTC/USDT", NOW, 77, 61837.64, 0.5, Side.BUY)
ONE = np.array([1.0])
BOOK = OrderBook("BTC/USDT", NOW, np.array([10.0, 9.5]), np.array([1.0, 2.0]), np.array([11.0]), ONE, 7)

odd: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [float("nan"), float("inf"), -0.0, 1e-9, 1e300, "1_0", "\uff11", "nan", "1e999999999", "x", ""]
    ),
    st.sampled_from(
        [Decimal("NaN"), Decimal("sNaN"), Decimal("1e-30"), Decimal(2**53) / 100, 2**60, [], "1.001"]
    ),
    st.integers(-3, 3),
)
hundredths = st.integers(-2, 400).map(lambda n: n / 100)
number: Any = st.one_of(
    hundredths, hundredths.map(str), hundredths.map(lambda v: Decimal(str(v))), st.floats(), odd
)
time: Any = st.one_of(
    st.integers(-10, 10).map(lambda n: NOW + timedelta(minutes=n)),
    st.sampled_from(
        [NOW.replace(tzinfo=None), NOW + timedelta(seconds=301), datetime(1999, 1, 1, tzinfo=UTC)]
    ),
    st.sampled_from([NOW + timedelta(microseconds=1), np.datetime64("2024-08-08"), "2024-08-08", None]),
)
symbol: Any = st.sampled_from(["BTC/USDT", "ETH/USDT", "BTCUSDT", None])


def steps_of(values: Any, scale: int) -> list[int]:
    return list(to_steps(values, scale, field="x").tolist())


def agrees(
    plain: Any, judge: Callable[[], ValidationResult[Any]], stored: Callable[[Any], list[Any]]
) -> None:
    if plain is not None:
        result = judge()
        assert result.is_clean
        assert stored(result.accepted) == [
            part.tolist() if hasattr(part, "tolist") else part for part in plain
        ]


@given(symbol, time, st.lists(number, min_size=5, max_size=5), st.one_of(odd, st.integers(0, 9)))
def test_candles(name: Any, ts: Any, values: list[Any], count: Any) -> None:
    opened, high, low, close, volume = values
    record = Candle(name, Timeframe.M1, ts, opened, high, low, close, volume, count)

    def stored(frame: Any) -> list[Any]:
        prices = [steps_of(frame[name].to_numpy(), 2)[0] for name in ("open", "high", "low", "close")]
        known = frame["trade_count"].iloc[0]
        volume = steps_of(frame["volume"].to_numpy(), 5)
        return [frame.index[0].value // 1000, *prices, *volume, -1 if count is None else known]

    agrees(
        VALIDATOR.plain.candle(record, NOW_US, None),
        lambda: VALIDATOR.validate_candle(record, now=NOW),
        stored,
    )


@given(
    st.builds(
        Trade,
        symbol,
        time,
        st.one_of(odd, st.integers()),
        number,
        number,
        st.one_of(odd, st.sampled_from(Side)),
    )
)
def test_trades(record: Trade) -> None:
    def stored(frame: Any) -> list[Any]:
        price, size = steps_of(frame["price"].to_numpy(), 2), steps_of(frame["size"].to_numpy(), 5)
        return [
            frame.index[0].value // 1000,
            frame["trade_id"].iloc[0],
            *price,
            *size,
            frame["side"].iloc[0],
        ]

    agrees(
        VALIDATOR.plain.trade(record, NOW_US, None), lambda: VALIDATOR.validate_trade(record, now=NOW), stored
    )


levels: Any = st.lists(st.one_of(hundredths, st.floats()), max_size=3).map(
    lambda side: np.array(side, np.float64)
)


@given(st.builds(OrderBook, symbol, time, levels, levels, levels, levels, st.one_of(odd, st.integers(-2, 5))))
def test_order_books(record: OrderBook) -> None:
    def stored(books: Any) -> list[Any]:
        book = books.book(0, "BTC/USDT")
        scales = {"bid_prices": 2, "bid_sizes": 5, "ask_prices": 2, "ask_sizes": 5}
        return [
            books.timestamps.astype(np.int64)[0],
            books.last_update_ids[0],
            *(steps_of(getattr(book, side), scale) for side, scale in scales.items()),
        ]

    agrees(
        VALIDATOR.plain.order_book(record, NOW_US, None),
        lambda: VALIDATOR.validate_order_book(record, now=NOW),
        stored,
    )


def test_what_feeds_send_takes_the_short_way() -> None:
    plain = VALIDATOR.plain
    texts = {name: str(getattr(CANDLE, name)) for name in ("open", "high", "low", "close", "volume")}
    exact = {name: Decimal(text) for name, text in texts.items()}
    expected = (NOW_US, 6183764, 6186000, 6183001, 6185550, 1234567, 5)
    for change in ({}, texts, exact):
        assert plain.candle(replace(CANDLE, **change), NOW_US, 6180000) == expected  # type: ignore[arg-type]
    assert plain.trade(TRADE, NOW_US, None) == (NOW_US, 77, 6183764, 50000, 1)
    book = plain.order_book(BOOK, NOW_US, None)
    assert book is not None
    assert book.bid_prices.tolist() == [1000, 950]
    empty = plain.order_book(replace(BOOK, bid_prices=ONE[:0], bid_sizes=ONE[:0]), NOW_US, None)
    assert empty is not None
    assert not len(empty.bid_prices)


@pytest.mark.parametrize("last", [4_000_000, 8_000_000])
def test_a_price_that_stands_out_is_for_the_rules(last: int) -> None:
    assert VALIDATOR.plain.candle(CANDLE, NOW_US, last) is None
    assert VALIDATOR.plain.trade(TRADE, NOW_US, last) is None
    assert VALIDATOR.plain.order_book(BOOK, NOW_US, 1500) is None
