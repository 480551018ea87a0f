"""Rows of one key, disorder, spikes and empty levels: what becomes of the rows of a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalayer.domain.instrument import Instrument
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import DataValidator, Notice, Rule, ValidationLimits
from datalayer.repositories import candles as candle_repository
from datalayer.repositories import trades as trade_repository
from tests.unit.test_validation_oracle import candles, order_books, trades

NOW = datetime(2024, 8, 8, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VALIDATOR = DataValidator(Instrument(1, "BTC/USDT", 2, 5))
FORMING = {"ts": NOW, "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1.0, "trade_count": 5}
LATER = FORMING | {"high": 12.0, "close": 11.5, "volume": 2.0, "trade_count": 9}
TRADE = {"ts": NOW, "trade_id": 1, "price": 100.5, "size": 1.0, "side": 1}
BOOK = {
    "ts": NOW,
    "bid_prices": [10.0],
    "bid_sizes": [1.0],
    "ask_prices": [11.0],
    "ask_sizes": [2.0],
    "last_update_id": 5,
}
SEVERAL = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def told(result: Any, notice: Notice) -> list[int]:
    return [row for warning in result.warnings if warning.notice is notice for row in warning.rows.tolist()]


def test_revisions_of_a_forming_candle_leave_the_last_one() -> None:
    result = VALIDATOR.validate_candles([FORMING, LATER, LATER], "1m", now=NOW)

    assert result.accepted["close"].tolist() == [11.5]
    assert result.accepted_rows.tolist() == [2]
    assert told(result, Notice.REVISION) == [0]
    assert told(result, Notice.DUPLICATE) == [1]
    assert result.dropped_rows.tolist() == [0, 1]
    assert result.is_clean


@pytest.mark.parametrize(
    ("field", "value"), [("open", 10.1), ("high", 12.5), ("low", 8.0), ("volume", 3.0), ("trade_count", 10)]
)
def test_a_candle_that_the_last_one_does_not_continue_is_kept_as_rejected(field: str, value: float) -> None:
    result = VALIDATOR.validate_candles([FORMING | {field: value}, LATER], "1m", now=NOW)

    assert result.accepted_rows.tolist() == [1]
    (rejected,) = result.rejected
    assert (rejected.row, rejected.rule) == (0, Rule.NO_CONFLICT)
    assert rejected.record[field] == value


def test_a_trade_count_that_is_unknown_contradicts_none() -> None:
    unknown = {name: value for name, value in LATER.items() if name != "trade_count"}
    result = VALIDATOR.validate_candles([FORMING, unknown], "1m", now=NOW)

    assert told(result, Notice.REVISION) == [0]


def test_the_first_trade_of_a_key_stays_and_one_that_contradicts_it_is_kept_as_rejected() -> None:
    result = VALIDATOR.validate_trades(
        [TRADE, TRADE, TRADE | {"price": 100.51}, TRADE | {"trade_id": 2}], now=NOW
    )

    assert result.accepted_rows.tolist() == [0, 3]
    assert told(result, Notice.DUPLICATE) == [1]
    (rejected,) = result.rejected
    assert (rejected.row, rejected.rule, rejected.field, rejected.value) == (
        2,
        Rule.NO_CONFLICT,
        "price",
        100.51,
    )


def test_the_first_book_of_a_time_stays_and_one_that_contradicts_it_is_kept_as_rejected() -> None:
    other = BOOK | {"last_update_id": 6}
    wider = BOOK | {"ask_prices": [11.0, 12.0], "ask_sizes": [2.0, 2.0]}
    result = VALIDATOR.validate_order_books([BOOK, other, BOOK, wider], now=NOW)

    assert result.accepted_rows.tolist() == [0]
    assert told(result, Notice.DUPLICATE) == [2]
    assert [(r.row, r.rule, r.field) for r in result.rejected] == [
        (1, Rule.NO_CONFLICT, "last_update_id"),
        (3, Rule.NO_CONFLICT, "ask_prices"),
    ]


def test_a_broken_row_neither_wins_nor_makes_a_duplicate() -> None:
    broken = LATER | {"high": -1.0}
    result = VALIDATOR.validate_candles([broken, FORMING, broken], "1m", now=NOW)

    assert result.accepted_rows.tolist() == [1]
    assert [r.row for r in result.rejected] == [0, 2]
    assert result.warnings == ()


def test_disorder_is_sorted_and_told() -> None:
    minutes = [3, 1, 2, 5, 4]
    result = VALIDATOR.validate_candles([FORMING | {"ts": NOW - m * MINUTE} for m in minutes], "1m", now=NOW)

    assert result.accepted_rows.tolist() == [3, 4, 0, 2, 1]
    assert result.accepted.index.is_monotonic_increasing
    assert told(result, Notice.DISORDER) == [2, 3]
    assert result.is_clean


def test_trades_of_one_time_are_ordered_by_id() -> None:
    result = VALIDATOR.validate_trades([TRADE | {"trade_id": n} for n in (2, 1, 3)], now=NOW)

    assert result.accepted["trade_id"].tolist() == [1, 2, 3]
    assert told(result, Notice.DISORDER) == [1]


def spikes(result: Any) -> list[tuple[str, list[int], list[float]]]:
    return [
        (w.field, w.rows.tolist(), w.details.tolist()) for w in result.warnings if w.notice is Notice.SPIKE
    ]


def test_a_spike_of_a_candle_is_flagged_once_and_accepted() -> None:
    rows = [FORMING | {"ts": NOW - m * MINUTE} for m in (3, 2, 1, 0)]
    rows[2] |= {"high": 12.61}
    rows[3] |= {"low": 8.74}
    result = VALIDATOR.validate_candles(rows, "1m", now=NOW)

    assert len(result.accepted) == 4
    assert result.is_clean
    assert spikes(result) == [("high", [2], [12.61]), ("low", [3], [8.74])]
    assert result.warning_counts() == {Notice.SPIKE: 2}


def test_a_price_at_the_limit_is_no_spike() -> None:
    rows = [FORMING | {"ts": NOW - MINUTE, "close": 10.0}, FORMING | {"high": 12.0}]

    assert spikes(VALIDATOR.validate_candles(rows, "1m", now=NOW)) == []


def test_the_last_price_before_a_batch_counts() -> None:
    assert spikes(VALIDATOR.validate_candle(FORMING, "1m", now=NOW)) == []
    assert spikes(VALIDATOR.validate_candle(FORMING, "1m", now=NOW, last_price=20.0)) == [("low", [0], [9.0])]
    assert spikes(VALIDATOR.validate_trade(TRADE, now=NOW, last_price=80.0)) == [("price", [0], [100.5])]
    assert spikes(VALIDATOR.validate_order_book(BOOK, now=NOW, last_price=8.0)) == [("mid", [0], [10.5])]
    generous = DataValidator(VALIDATOR.instrument, ValidationLimits(spike=2.0))
    assert spikes(generous.validate_trade(TRADE, now=NOW, last_price=80.0)) == []


def test_spikes_name_the_row_as_given_and_pass_over_books_of_one_side() -> None:
    prices = {2: 100.0, 0: 130.0, 1: 101.0}
    result = VALIDATOR.validate_trades(
        [TRADE | {"ts": NOW - m * MINUTE, "price": price} for m, price in prices.items()], now=NOW
    )
    assert spikes(result) == [("price", [1], [130.0])]

    one_sided = BOOK | {"ts": NOW - MINUTE, "ask_prices": [], "ask_sizes": []}
    far = {"bid_prices": [20.0], "ask_prices": [22.0]}
    books = [BOOK | {"ts": NOW - 2 * MINUTE}, one_sided, BOOK | far]
    assert spikes(VALIDATOR.validate_order_books(books, now=NOW)) == [("mid", [2], [21.0])]


def test_levels_of_size_zero_are_left_out_and_counted() -> None:
    crossed_by_nothing = {"bid_prices": [12.0, 10.0, 9.0, 9.5], "bid_sizes": [0, "1.0", 2.0, 0.0]}
    gone = {"ts": NOW - MINUTE, "ask_prices": [11.0, 11.0], "ask_sizes": [0.0, 0.0]}
    result = VALIDATOR.validate_order_books([BOOK | crossed_by_nothing, BOOK | gone], now=NOW)

    books = result.accepted
    np.testing.assert_array_equal(books.bid_prices, [[10.0, np.nan], [10.0, 9.0]])
    np.testing.assert_array_equal(books.bid_sizes, [[1.0, np.nan], [1.0, 2.0]])
    assert books.ask_counts.tolist() == [0, 1]
    zero = [
        (w.field, w.rows.tolist(), w.details.tolist())
        for w in result.warnings
        if w.notice is Notice.ZERO_SIZE_LEVELS
    ]
    assert zero == [("bid_sizes", [0], [2]), ("ask_sizes", [1], [2])]
    assert result.warning_counts()[Notice.ZERO_SIZE_LEVELS] == 4


def test_rejected_rows_are_a_sequence_with_their_payloads() -> None:
    rows = [TRADE | {"trade_id": n, "size": -1.0 if n % 3 == 0 else 1.0} for n in range(10)]
    rows[4]["side"] = 7
    result = VALIDATOR.validate_trades(rows, now=NOW, payloads=[f"line {n}" for n in range(10)])

    rejected = result.rejected
    assert [r.row for r in rejected] == [0, 3, 4, 6, 9]
    assert [r.payload for r in rejected] == [b"line 0", b"line 3", b"line 4", b"line 6", b"line 9"]
    assert rejected.counts() == {Rule.POSITIVE_SIZE: 4, Rule.SIDE: 1}
    assert rejected[-1].row == 9
    assert [r.row for r in rejected[1:3]] == [3, 4]
    assert len(rejected) == 5
    assert rejected[0].symbol == "BTC/USDT"
    assert rejected[0].ts == NOW
    with pytest.raises(IndexError):
        rejected[5]


def test_columns_that_the_rules_do_not_know_are_kept_with_what_is_rejected() -> None:
    frame = pd.DataFrame([TRADE | {"size": 0.0, "venue": "binance"}]).set_index("ts")
    (rejected,) = VALIDATOR.validate_trades(frame, now=NOW).rejected

    assert rejected.record["venue"] == "binance"
    assert rejected.record["ts"] == pd.Timestamp(NOW)


def test_nothing_comes_of_nothing() -> None:
    for result in (
        VALIDATOR.validate_candles([], "1m"),
        VALIDATOR.validate_trades([]),
        VALIDATOR.validate_order_books([]),
    ):
        assert len(result.accepted) == 0
        assert result.is_clean
        assert result.warnings == ()


def candle_rows(records: list[dict[str, Any]]) -> dict[Any, list[Any]]:
    """What would be stored, in steps, by key: the same number may come as float or as `Decimal`."""
    accepted = VALIDATOR.validate_candles(records, "1m", now=NOW).accepted
    columns = candle_repository.candle_columns(accepted, VALIDATOR.instrument, Timeframe.M1)
    values = zip(
        *(column.data.tolist() for column in columns[1:]), accepted["trade_count"].isna(), strict=True
    )
    return dict(zip(accepted.index, map(list, values), strict=True))


def trade_rows(records: list[dict[str, Any]]) -> dict[Any, list[Any]]:
    accepted = VALIDATOR.validate_trades(records, now=NOW).accepted
    columns = trade_repository.trade_columns(accepted, VALIDATOR.instrument)
    values = [list(row) for row in zip(*(column.data.tolist() for column in columns[1:]), strict=True)]
    return {(ts, row[0]): row for ts, row in zip(accepted.index, values, strict=True)}


@SEVERAL
@given(st.lists(candles(), max_size=8))
def test_candles_are_what_writing_them_one_by_one_would_leave(records: list[dict[str, Any]]) -> None:
    stored: dict[Any, list[Any]] = {}
    for record in records:
        stored |= candle_rows([record])

    assert candle_rows(records) == stored


@SEVERAL
@given(st.lists(trades(), max_size=8))
def test_trades_are_what_writing_them_one_by_one_would_leave(records: list[dict[str, Any]]) -> None:
    stored: dict[Any, list[Any]] = {}
    for record in records:
        stored = trade_rows([record]) | stored

    assert trade_rows(records) == stored


@SEVERAL
@given(st.lists(candles(), max_size=6), st.lists(trades(), max_size=6), st.lists(order_books(), max_size=6))
def test_what_was_accepted_once_is_accepted_again_unchanged(
    some_candles: list[Any], some_trades: list[Any], some_books: list[Any]
) -> None:
    for check, data in (
        (lambda d: VALIDATOR.validate_candles(d, "1m", now=NOW), some_candles),
        (lambda d: VALIDATOR.validate_trades(d, now=NOW), some_trades),
    ):
        once = check(data)
        again = check(once.accepted)
        assert again.is_clean
        assert not len(again.dropped_rows)
        pd.testing.assert_frame_equal(again.accepted, once.accepted, check_exact=True)
    books = VALIDATOR.validate_order_books(some_books, now=NOW).accepted
    again_books = VALIDATOR.validate_order_books(books, now=NOW).accepted
    for name in books.__slots__:
        np.testing.assert_array_equal(getattr(again_books, name), getattr(books, name))
