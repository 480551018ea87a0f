"""What is kept of a rejected record is what was given, to the last bit."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.instrument import Instrument
from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.validation import DataValidator, RejectedRow, Rule
from datalayer.errors import InvalidInputError
from datalayer.repositories.reject_payload import Unreadable, decode_payload, encode_payload

zones = (
    st.just(None)
    | st.just(UTC)
    | st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-1439, 1439))
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())  # half surrogate pairs included
    | st.decimals(allow_nan=True, allow_infinity=True)
    | st.datetimes(timezones=zones)
    | st.binary()
    | st.just(pd.NA)
    | st.just(pd.NaT)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


def rejected(record: dict[str, Any], received: bytes | None = None) -> RejectedRow:
    return RejectedRow(
        row=0,
        kind="trade",
        symbol="BTC/USDT",
        ts=None,
        rule=Rule.TIME,
        field="ts",
        value=None,
        message="m",
        record=record,
        payload=received,
    )


def kept(value: Any) -> Any:
    return decode_payload(encode_payload(rejected({"x": value}), None)).record["x"]


def same(first: Any, second: Any) -> bool:
    """Tell whether two values are the same thing, NaN, -0.0, digits and offsets included."""
    if isinstance(first, list):
        return isinstance(second, list) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, datetime) and first is not pd.NaT:
        return second == first and second.utcoffset() == first.utcoffset()
    return type(first) is type(second) and repr(first) == repr(second)


@given(values)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(value, kept(value))


@given(
    st.dictionaries(st.text(max_size=5), scalars, max_size=4),
    st.binary(),
    st.sampled_from([None, "1m", "1d"]),
)
def test_the_payload_is_ascii_json_and_keeps_what_was_received(
    record: dict[str, Any], received: bytes, timeframe: str | None
) -> None:
    payload = encode_payload(rejected(record, received), timeframe)
    assert payload == encode_payload(rejected(record, received), timeframe)
    assert payload.isascii()
    json.loads(payload, parse_constant=pytest.fail)
    back = decode_payload(payload)
    assert (back.received, back.timeframe) == (received, timeframe)
    assert list(back.record) == list(record)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),  # noqa: FBT003 (a value, no flag)
        (np.array([1.5, 2.5]), [1.5, 2.5]),
        ((1, "2"), [1, "2"]),
        ({"a": [Decimal("1.0")], 2: None}, {"a": [Decimal("1.0")], 2: None}),
        (np.datetime64("2024-08-08T00:00:01", "s"), np.datetime64("2024-08-08T00:00:01", "s")),
        (
            pd.Timestamp("2024-08-08T00:00:00.000000001+00:00"),
            pd.Timestamp("2024-08-08T00:00:00.000000001+00:00"),
        ),
    ],
)
def test_kindred_types(given_value: Any, expected: Any) -> None:
    assert kept(given_value) == expected


def test_an_integer_too_long_to_be_shown_is_kept() -> None:
    assert kept(10**5000) == 10**5000


def test_what_cannot_be_kept_says_what_it_was() -> None:
    assert kept(timedelta(seconds=1)) == Unreadable("timedelta", "0:00:01")
    assert kept(np.timedelta64(7, "ns")) == Unreadable("timedelta64", "7 nanoseconds")
    endless: list[Any] = []
    endless.append(endless)
    assert "unreadable" in encode_payload(rejected({"x": endless}), None).decode()


def test_padding_of_books_in_arrays_is_left_out() -> None:
    books = OrderBookColumns(
        timestamps=np.array(["1999-01-01", "2024-01-01"], dtype="datetime64[us]"),
        bid_prices=np.array([[5.0, np.nan], [5.0, 4.0]]),
        bid_sizes=np.array([[1.0, np.nan], [1.0, 1.0]]),
        ask_prices=np.full((2, 1), np.nan),
        ask_sizes=np.full((2, 1), np.nan),
        last_update_ids=np.array([1, 2]),
    )
    result = DataValidator(Instrument(1, "BTC/USDT", 2, 5)).validate_order_books(books)
    (row,) = result.rejected
    record = decode_payload(encode_payload(row, None)).record
    assert (record["bid_prices"], record["bid_sizes"], record["ask_prices"]) == ([5.0], [1.0], [])


@pytest.mark.parametrize(
    "payload", [b"\xff\x00", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "record": 3}']
)
def test_a_payload_of_somebody_else_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidInputError, match="payload"):
        decode_payload(payload)


@given(values, st.data())
def test_damaged_payloads_are_read_or_refused(value: Any, data: st.DataObject) -> None:
    payload = bytearray(encode_payload(rejected({"price": value, "x": value}), "1m"))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(payload)))
        payload[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(InvalidInputError):  # anything else fails the test
        decode_payload(bytes(payload))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["time", "time64", "integer", "decimal", "bytes", "entries", "x"]),
            inner,
            max_size=1,
        )
    ),
    max_leaves=6,
)


@given(_JSON, _JSON, _JSON)
def test_payloads_of_any_json_are_read_or_refused(record: Any, timeframe: Any, received: Any) -> None:
    document = {"format": 1, "record": {"price": record}, "timeframe": timeframe, "received": received}
    with contextlib.suppress(InvalidInputError):
        decode_payload(json.dumps(document).encode())
