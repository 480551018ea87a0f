from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.messages import (
    BUY,
    SELL,
    AggregateTrade,
    BookTicker,
    Trade,
    UnknownMessage,
    parse_capture_line,
    parse_message,
)
from datalayer.integrations.depth import DepthDiff, DepthSnapshot
from datalayer.integrations.fields import to_e8

TRADE = {
    "e": "trade",
    "E": 1723161255343,
    "s": "BTCUSDT",
    "t": 3735683259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1723161255342,
    "m": True,
    "M": True,
}
AGGREGATE = {k: v for k, v in TRADE.items() if k != "t"} | {"e": "aggTrade", "a": 26129, "f": 100, "l": 105}
DIFF = {
    "e": "depthUpdate",
    "E": 1723161255208,
    "s": "BTCUSDT",
    "U": 10,
    "u": 12,
    "b": [["61737.63000000", "0.00000000"]],
    "a": [["61837.64000000", "1.54698000"]],
}
TICKER = {"u": 7, "s": "BTCUSDT", "b": "1.00000000", "B": "2.00000000", "a": "1.10000000", "A": "0.00000001"}
SNAPSHOT = {"lastUpdateId": 9, "bids": [["1.5", "2"]], "asks": [["1.6", "3"]]}


def test_trade_is_exact_and_names_the_aggressor() -> None:
    trade = parse_message(json.dumps({"stream": "btcusdt@trade", "data": TRADE}))

    assert trade == Trade(
        "BTCUSDT", 1723161255343000, 1723161255342000, 3735683259, 6_183_763_000_000, 2_000_000, SELL
    )
    assert parse_message(json.dumps(TRADE | {"m": False})).side == BUY  # type: ignore[union-attr]


def test_depth_diff_from_a_combined_and_from_a_raw_stream() -> None:
    expected = DepthDiff(
        "BTCUSDT", 1723161255208000, 10, 12, ((6_173_763_000_000, 0),), ((6_183_764_000_000, 154_698_000),)
    )

    assert parse_message(json.dumps({"stream": "btcusdt@depth@100ms", "data": DIFF})) == expected
    assert parse_message(json.dumps(DIFF).encode()) == expected


def test_an_aggregate_trade_in_microseconds() -> None:
    message = parse_message(json.dumps(AGGREGATE | {"E": 1723161255343123, "T": 1723161255342456}))

    assert isinstance(message, AggregateTrade)
    assert (message.event_time_us, message.trade_time_us) == (1723161255343123, 1723161255342456)
    assert (message.aggregate_id, message.first_trade_id, message.last_trade_id) == (26129, 100, 105)


def test_snapshot_is_only_read_outside_of_streams() -> None:
    partial_book = {"stream": "btcusdt@depth20", "data": SNAPSHOT}

    assert parse_message(json.dumps(SNAPSHOT)) == DepthSnapshot(
        9, ((150_000_000, 200_000_000),), ((160_000_000, 300_000_000),)
    )
    assert parse_message(json.dumps(partial_book)) == UnknownMessage("depth20")


def test_book_ticker_with_and_without_stream_name() -> None:
    expected = BookTicker("BTCUSDT", 7, 100_000_000, 200_000_000, 110_000_000, 1)

    assert parse_message(json.dumps({"stream": "btcusdt@bookTicker", "data": TICKER})) == expected
    assert parse_message(json.dumps(TICKER)) == expected


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"result": None, "id": 1}, ""),
        ({"e": "24hrTicker", "s": "BTCUSDT"}, "24hrTicker"),
        ({"stream": "!ticker@arr", "data": {}}, "arr"),
        ({"e": 7}, "7"),
    ],
)
def test_other_messages_are_unknown_and_no_error(document: dict[str, Any], kind: str) -> None:
    assert parse_message(json.dumps(document)) == UnknownMessage(kind)


@pytest.mark.parametrize(
    ("base", "change", "field"),
    [
        (TRADE, {"p": "-1.0"}, "price"),
        (TRADE, {"p": "0.00000000"}, "price"),
        (TRADE, {"p": 61837.63}, "price"),
        (TRADE, {"p": "1e5"}, "price"),
        (TRADE, {"p": "\u0661.0"}, "price"),
        (TRADE, {"p": "1.000000001"}, "price"),
        (TRADE, {"q": "NaN"}, "size"),
        (TRADE, {"q": None}, "size"),
        (TRADE, {"t": "3735683259"}, "trade_id"),
        (TRADE, {"t": -1}, "trade_id"),
        (TRADE, {"t": True}, "trade_id"),
        (TRADE, {"t": 2**63}, "trade_id"),
        (TRADE, {"T": 10**17}, "trade_time_us"),
        (TRADE, {"E": 1.5}, "event_time_us"),
        (TRADE, {"m": 1}, "buyer_is_maker"),
        (TRADE, {"s": ""}, "symbol"),
        (DIFF, {"U": 13}, "last_update_id"),
        (DIFF, {"b": {}}, "bids"),
        (DIFF, {"b": [["1.0"]]}, "bids[0]"),
        (DIFF, {"a": [["1.0", "1.0"], ["1.0", "x"]]}, "asks[1].size"),
        (DIFF, {"a": [["0.0", "1.0"]]}, "asks[0].price"),
        (SNAPSHOT, {"bids": [["1.6", "1"]]}, "bids[0].price"),
        (SNAPSHOT, {"lastUpdateId": None}, "last_update_id"),
        (TICKER, {"A": "?"}, "ask_size"),
    ],
)
def test_a_malformed_field_is_named(base: dict[str, Any], change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_message(json.dumps(base | change))

    assert caught.value.field == field


@pytest.mark.parametrize("key", sorted(TRADE.keys() - {"e", "M"}))
def test_an_absent_field_is_named(key: str) -> None:
    with pytest.raises(InvalidInputError, match=f"no '{key}'"):
        parse_message(json.dumps({k: v for k, v in TRADE.items() if k != key}))


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", '{"stream":"x","data":[]}', b"\xff\xfe{", "[" * 100_000, "9" * 5_000]
)
def test_what_is_no_message_is_refused_with_a_short_text(text: str | bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_message(text)

    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("line", ["", "x {}", "-5 {}", "\u0663 {}", "17231612 ", f"{10**30} {{}}"])
def test_a_malformed_capture_line_is_refused(line: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_capture_line(line)


def test_a_capture_line_keeps_the_receive_clock() -> None:
    assert parse_capture_line(
        b"1723161254087891268 " + json.dumps(TICKER).encode() + b"\n"
    ).receive_time_ns == (1_723_161_254_087_891_268)


_CHARACTERS = "019.-+eENaU@ \u0661\x00"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(_CHARACTERS, max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(_CHARACTERS, max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    base=st.sampled_from([TRADE, DIFF, TICKER, SNAPSHOT]),
    change=st.dictionaries(st.sampled_from([*TRADE, *DIFF, *TICKER, *SNAPSHOT, "stream", "data"]), _JSON),
)
def test_any_json_is_a_message_or_a_named_fault(base: dict[str, Any], change: dict[str, Any]) -> None:
    try:
        message = parse_message(json.dumps(base | change))
    except InvalidInputError:
        return
    assert isinstance(message, Trade | DepthDiff | DepthSnapshot | BookTicker | UnknownMessage)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_line_or_a_named_fault(line: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse_capture_line(line)


@given(st.integers(0, 10**18), st.integers(0, 8))
def test_decimal_texts_are_exact(steps: int, decimals: int) -> None:
    whole, part = divmod(steps, 10**decimals)
    text = f"{whole}.{part:0{decimals}}" if decimals else str(whole)

    if len(str(whole)) <= 18:
        assert to_e8(text, "price") == steps * 10 ** (8 - decimals)
