"""The standard form of a book: what is computed of its levels, and what a model gets of it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.order_book import OrderBook, OrderBookColumns
from datalayer.domain.order_book_frame import IMBALANCES, OrderBookDataFrame
from datalayer.errors import InvalidInputError
from tests.frames import order_book_frames

if TYPE_CHECKING:
    from typing import Any

TS = datetime(2024, 8, 8, 10, tzinfo=UTC)
BOOK = OrderBook(
    "BTC/USDT",
    TS,
    bid_prices=np.array([100.0, 99.5, 98.0]),
    bid_sizes=np.array([1.0, 2.0, 4.0]),
    ask_prices=np.array([101.0, 102.0]),
    ask_sizes=np.array([3.0, 5.0]),
    last_update_id=7,
)


def levels(prices: list[float], sizes: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"price": prices, "size": sizes, "cumulative_size": np.cumsum(sizes)})


EMPTY = OrderBook("BTC/USDT", TS, *[np.empty(0)] * 4)


def test_what_is_computed_of_the_levels() -> None:
    frame = OrderBookDataFrame.from_book(BOOK)
    assert (frame.best_bid, frame.best_ask, frame.mid, frame.spread) == (100.0, 101.0, 100.5, 1.0)
    assert frame.micro_price == (100.0 * 3.0 + 101.0 * 1.0) / 4.0
    assert (frame.bid_volume, frame.ask_volume) == (7.0, 8.0)
    assert list(frame.bids["cumulative_size"]) == [1.0, 3.0, 7.0]
    assert frame.depth_volumes(1.0 / 100.5) == (3.0, 3.0)
    assert list(frame.to_pandas().loc["ask"]["price"]) == [101.0, 102.0]


def test_a_level_on_the_bound_belongs_to_the_depth() -> None:
    """In binary, 10 and 0.1 % of it are a little less than 10.01."""
    prices = (np.array([9.999, 9.99]), np.array([10.001, 10.01]))
    book = OrderBook("BTC/USDT", TS, prices[0], np.array([1.0, 2.0]), prices[1], np.array([4.0, 8.0]))
    frame = OrderBookDataFrame.from_book(book)

    assert frame.depth_volumes(0.001) == (3.0, 12.0)
    assert frame.depth_volumes(0.00099) == (1.0, 4.0)
    names = ["bid_volume_10bps", "ask_volume_10bps", "ask_volume_9bps"]
    np.testing.assert_array_equal(frame.to_numpy(names), [3.0, 12.0, 4.0])
    np.testing.assert_array_equal(OrderBookDataFrame.from_book(EMPTY).to_numpy(names), [math.nan] * 3)


@pytest.mark.parametrize("within", [-0.1, math.nan, math.inf, "0.1"])
def test_a_depth_needs_a_share(within: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^within="):
        OrderBookDataFrame.from_book(BOOK).depth_volumes(within)


@given(cents=st.integers(2, 10**7), spread=st.integers(1, 50), bps=st.integers(0, 999))
def test_the_depth_is_that_of_exact_numbers(cents: int, spread: int, bps: int) -> None:
    bids = list(range(cents, max(cents - 4, 0), -1))
    asks = [cents + spread + count for count in range(4)]
    mid, share = Fraction(2 * cents + spread, 2), Fraction(bps, 10_000)
    sides = [np.array(side) / 100 for side in (bids, asks)]
    frame = OrderBookDataFrame.from_book(
        OrderBook("BTC/USDT", TS, sides[0], np.ones(len(bids)), sides[1], np.ones(len(asks)))
    )
    near = (sum(b >= mid * (1 - share) for b in bids), sum(a <= mid * (1 + share) for a in asks))

    assert frame.depth_volumes(bps / 10_000) == near


def test_of_an_empty_book_nothing_is_known_but_the_volumes() -> None:
    frame = OrderBookDataFrame.from_book(EMPTY)
    values = frame.to_numpy(["mid", "spread", "micro_price", "bid_price_0", *IMBALANCES])
    assert np.isnan(values).all()
    assert (frame.bid_volume, frame.ask_volume) == (0.0, 0.0)
    assert all(math.isnan(volume) for volume in frame.depth_volumes(0.5))


def test_features_come_in_the_order_asked_for() -> None:
    frame = OrderBookDataFrame.from_book(BOOK, imbalances={"book_imbalance_5s": -0.25})
    names = ["ask_size_1", "bid_cumulative_size_2", "book_imbalance_5s", "best_bid", "ask_price_9"]
    np.testing.assert_array_equal(frame.to_numpy(names), [5.0, 7.0, -0.25, 100.0, math.nan])


@pytest.mark.parametrize("name", ["close", "bid_price_", "bid_price_-1", "", "book_imbalance_2s"])
def test_an_unknown_feature_lists_the_known(name: str) -> None:
    with pytest.raises(InvalidInputError, match="micro_price"):
        OrderBookDataFrame.from_book(BOOK).to_numpy([name])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timestamp": TS.replace(tzinfo=None)}, "timestamp"),
        ({"aggregation": "5m"}, "aggregation"),
        ({"imbalances": {"book": 0.1}}, "imbalances"),
        ({"bids": pd.DataFrame({"price": [1.0]})}, "bids"),
        ({"asks": pd.DataFrame({"price": [1], "size": [1], "cumulative_size": [1]})}, "asks"),
        ({"bids": OrderBookDataFrame.from_book(BOOK).bids.iloc[1:]}, r"bids\.index"),
        (
            {"bids": OrderBookDataFrame.from_book(BOOK).bids.iloc[::-1].reset_index(drop=True)},
            "bids.cumulative_size",
        ),
        ({"bids": levels([99.0, 100.0], [1.0, 2.0])}, "bid_prices"),
        ({"bids": levels([101.0], [1.0])}, "bid_prices"),
        ({"asks": levels([101.0], [0.0])}, "ask_sizes"),
        ({"asks": levels([101.0], [-1.0])}, "ask_sizes"),
        ({"asks": levels([math.inf], [1.0])}, "ask_prices"),
        ({"asks": levels([math.nan], [1.0])}, "ask_sizes"),
        ({"asks": levels([101.0, math.nan], [1.0, math.nan])}, "asks.cumulative_size"),
        ({"asks": levels([101.0], [1.0]).assign(cumulative_size=2.0)}, "asks.cumulative_size"),
        ({"asks": None}, "asks"),
    ],
)
def test_what_is_no_book_is_refused(change: dict[str, Any], field: str) -> None:
    frame = OrderBookDataFrame.from_book(BOOK)
    given_parts = {"symbol": frame.symbol, "timestamp": TS, "bids": frame.bids, "asks": frame.asks} | change
    with pytest.raises(InvalidInputError, match=f"^{field}"):
        OrderBookDataFrame(**given_parts)


@given(frame=order_book_frames())
def test_the_best_levels_bound_the_micro_price(frame: OrderBookDataFrame) -> None:
    if len(frame.bids) and len(frame.asks):
        assert frame.best_bid <= frame.micro_price * (1 + 1e-12)
        assert frame.micro_price <= frame.best_ask * (1 + 1e-12)


def test_a_book_goes_through_columns_and_back() -> None:
    columns = BOOK.columns()
    assert isinstance(columns, OrderBookColumns)
    assert columns.book(0, "BTC/USDT") == BOOK
    assert EMPTY.columns().book(0, "BTC/USDT") == EMPTY
    assert BOOK != EMPTY


def test_a_crossed_book_is_refused_as_columns() -> None:
    crossed = OrderBook(
        "BTC/USDT", TS, BOOK.ask_prices[:1], BOOK.ask_sizes[:1], BOOK.bid_prices, BOOK.bid_sizes
    )
    with pytest.raises(InvalidInputError, match="prices"):
        crossed.columns()


def test_a_book_that_breaks_the_rules_gets_no_standard_form() -> None:
    with pytest.raises(InvalidInputError, match="strictly falling"):
        OrderBookDataFrame.from_book(replace(BOOK, bid_prices=BOOK.bid_prices[::-1]))


@pytest.mark.parametrize(("aggregation", "length_s"), [("raw", 0), ("1s", 1), ("1m", 60)])
def test_an_aggregation_is_known_at_its_end(aggregation: Any, length_s: int) -> None:
    frame = OrderBookDataFrame.from_book(BOOK, aggregation=aggregation)
    assert frame.known_at == TS + timedelta(seconds=length_s)


def test_an_imbalance_beyond_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^imbalances\.book_imbalance_1s=1\.5"):
        OrderBookDataFrame.from_book(BOOK, imbalances={"book_imbalance_1s": 1.5})


def test_a_frame_does_not_change_with_the_tables_that_it_was_made_of() -> None:
    bids = OrderBookDataFrame.from_book(BOOK).bids.copy()
    frame = OrderBookDataFrame("BTCUSDT", TS, bids, OrderBookDataFrame.from_book(BOOK).asks)
    bids.loc[0, "price"] = 999.0
    assert (frame.symbol, frame.best_bid) == ("BTC/USDT", 100.0)
