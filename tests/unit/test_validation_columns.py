"""Columns of every make: masks, Arrow types, two times, buffers that are used again; the mask, time and value that count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datalayer.domain.instrument import Instrument
from datalayer.domain.steps import to_steps
from datalayer.domain.validation import DataValidator, Rule
from datalayer.errors import InvalidInputError

NOW = datetime(2024, 8, 8, 12, tzinfo=UTC)
VALIDATOR = DataValidator(Instrument(1, "BTC/USDT", 2, 5))
TIMES = pd.DatetimeIndex([NOW - timedelta(minutes=2), NOW - timedelta(minutes=1)], name="timestamp").as_unit(
    "us"
)
TRADES: dict[str, Any] = {
    "ts": TIMES,
    "trade_id": [1, 2],
    "price": [1.0, 2.0],
    "size": [1.0, 1.0],
    "side": [1, 1],
}
BOOK: dict[str, Any] = {
    "ts": NOW,
    "bid_prices": [10.0, 9.0],
    "bid_sizes": [1.0, 2.0],
    "ask_prices": [],
    "ask_sizes": [],
}
NO_ASKS = {"ask_prices": [[]], "ask_sizes": [[]]}


@pytest.mark.parametrize("field", ["price", "size", "trade_id", "side"])
def test_a_masked_value_is_none(field: str) -> None:
    column = np.ma.MaskedArray(np.asarray(TRADES[field]), mask=[False, True])
    result = VALIDATOR.validate_trades(TRADES | {field: column}, now=NOW)

    (rejected,) = result.rejected
    assert (rejected.row, rejected.rule, rejected.field) == (1, Rule.PRESENT, field)
    assert result.accepted["trade_id"].tolist() == [1]


def test_a_masked_trade_count_is_unknown() -> None:
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), (1.0, 1.0))
    counts = np.ma.MaskedArray([7, 8], mask=[True, False])
    accepted = VALIDATOR.validate_candles(
        {"ts": TIMES, "trade_count": counts} | prices, "1m", now=NOW
    ).accepted

    assert accepted["trade_count"].isna().tolist() == [True, False]


def test_masked_levels_are_no_levels() -> None:
    sizes = np.ma.MaskedArray([1.0, 2.0], mask=[False, True])
    (single,) = VALIDATOR.validate_order_book(BOOK | {"bid_sizes": sizes}, now=NOW).rejected
    assert (single.rule, single.field) == (Rule.LEVELS, "bid_sizes")

    columns = {"ts": TIMES[:1], "bid_prices": np.array([[10.0, 9.0]]), "bid_sizes": sizes.reshape(1, 2)}
    books = VALIDATOR.validate_order_books(columns | NO_ASKS, now=NOW)
    assert [(row.rule, row.field) for row in books.rejected] == [(Rule.PRESENT, "bid_sizes[1]")]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_arrow_are_read_as_they_say(unit: str) -> None:
    aware = pd.Series(TIMES).astype(pd.ArrowDtype(pa.timestamp(unit, "Asia/Tokyo")))  # type: ignore[call-overload]
    aware[1] = pd.NA
    result = VALIDATOR.validate_trades(TRADES | {"ts": aware}, now=NOW)
    assert result.accepted.index.tolist() == [TIMES[0]]
    assert result.rejected.counts() == {Rule.PRESENT: 1}

    naive = pd.Series(TIMES.tz_localize(None)).astype(pd.ArrowDtype(pa.timestamp(unit)))  # type: ignore[call-overload]
    assert VALIDATOR.validate_trades(TRADES | {"ts": naive}, now=NOW).rejected.counts() == {Rule.UTC: 2}


@pytest.mark.parametrize("name", ["ts", "timestamp", "timestamps"])
def test_a_frame_with_two_times_is_refused(name: str) -> None:
    frame = (
        pd.DataFrame(TRADES | {"ts": TIMES - timedelta(hours=1)})
        .rename(columns={"ts": name})
        .set_index(TIMES)
    )

    with pytest.raises(InvalidInputError, match=f"columns.*{name}"):
        VALIDATOR.validate_trades(frame, now=NOW)


@pytest.mark.parametrize("field", list(BOOK))
def test_an_array_without_a_dimension_is_refused_and_shown(field: str) -> None:
    result = VALIDATOR.validate_order_books([BOOK | {field: np.array(1.5)}], now=NOW)

    assert [(row.field, row.value_text) for row in result.rejected] == [(field, "1.5")]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("kind", ["timedelta64", "datetime64"])
@pytest.mark.parametrize(
    ("field", "rule"), [("price", Rule.NUMBER), ("size", Rule.NUMBER), ("trade_id", Rule.WHOLE_NUMBER)]
)
def test_times_and_durations_are_no_numbers(field: str, rule: Rule, kind: str, unit: str) -> None:
    column = np.array([1, 2]).astype(f"{kind}[{unit}]")
    for data in (TRADES | {field: column}, pd.DataFrame(TRADES | {field: column})):
        assert VALIDATOR.validate_trades(data, now=NOW).rejected.counts() == {rule: 2}
    with pytest.raises(InvalidInputError, match="is no number"):
        to_steps(column, 2, field=field)


def test_times_and_durations_are_no_levels() -> None:
    for kind in ("timedelta64[ns]", "datetime64[ns]"):
        (rejected,) = VALIDATOR.validate_order_book(
            BOOK | {"bid_sizes": np.array([1, 2]).astype(kind)}, now=NOW
        ).rejected
        assert (rejected.rule, rejected.field) == (Rule.NUMBER, "bid_sizes[0]")


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="this machine has no longer floats")
def test_a_float_that_float64_would_round_is_refused() -> None:
    column = np.array([1.0, 2.0], dtype=np.longdouble) + np.longdouble(2) ** -60
    result = VALIDATOR.validate_trades(TRADES | {"price": column}, now=NOW)

    assert result.rejected.counts() == {Rule.NUMBER: 2}
    with pytest.raises(InvalidInputError, match="is no number"):
        to_steps(column, 2, field="price")


def test_what_is_rejected_stays_as_it_was_given() -> None:
    prices, sizes = np.array([-1.0, 2.0]), pd.Series([1.0, 1.0])
    payloads = [b"first", b"second"]
    frame = pd.DataFrame(TRADES | {"price": [1.0, -2.0]})
    of_columns = VALIDATOR.validate_trades(
        TRADES | {"price": prices, "size": sizes}, now=NOW, payloads=payloads
    )
    of_frame = VALIDATOR.validate_trades(frame, now=NOW)
    prices[:], sizes[:], payloads[:] = 7.0, 7.0, [b"later", b"later"]
    frame.loc[:, "price"] = 7.0

    (first,), (second,) = of_columns.rejected, of_frame.rejected
    assert (first.row, first.value, first.record["size"], first.payload) == (0, -1.0, 1.0, b"first")
    assert (second.row, second.value) == (1, -2.0)


def test_rejected_levels_stay_as_they_were_given() -> None:
    buffer = np.array([10.0, -9.0])
    of_record = VALIDATOR.validate_order_book(BOOK | {"bid_prices": buffer}, now=NOW)
    padded = {"ts": TIMES[:1], "bid_prices": buffer.reshape(1, 2), "bid_sizes": np.array([[1.0, 1.0]])}
    of_arrays = VALIDATOR.validate_order_books(padded | NO_ASKS, now=NOW)
    buffer[:] = 7.0

    for result in (of_record, of_arrays):
        (rejected,) = result.rejected
        assert (rejected.field, rejected.value) == ("bid_prices[1]", -9.0)
        assert rejected.record["bid_prices"].tolist() == [10.0, -9.0]
