"""Malformed input of every sort: each parser answers with a value or with an InvalidInputError, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datalayer.errors import InvalidInputError
from datalayer.integrations import depth
from datalayer.integrations.binance.daily_files import parse_daily_klines
from datalayer.integrations.binance.exchange_info import read_exchange_info
from datalayer.integrations.binance.messages import (
    AggregateTrade,
    BookTicker,
    CaptureLine,
    Kline,
    Message,
    Trade,
    UnknownMessage,
    parse_capture_line,
    parse_message,
)
from datalayer.integrations.binance.replay import StreamReplay, book_columns, trade_columns
from datalayer.integrations.book_sampling import BookSampler
from datalayer.integrations.depth import DepthDiff, DepthSnapshot
from datalayer.integrations.fields import to_e8
from tests.unit.integrations.test_binance_exchange_info import document as exchange_info
from tests.unit.integrations.test_binance_klines import LINE
from tests.unit.integrations.test_binance_klines import MESSAGE as KLINE
from tests.unit.integrations.test_binance_messages import AGGREGATE, DIFF, SNAPSHOT, TICKER, TRADE

DOCUMENTS: list[dict[str, Any]] = [
    TRADE,
    DIFF,
    TICKER,
    SNAPSHOT,
    KLINE,
    {"stream": "btcusdt@trade", "data": TRADE},
    AGGREGATE,
]
TEXTS = [json.dumps(document) for document in DOCUMENTS]
KINDS = Trade | AggregateTrade | DepthDiff | DepthSnapshot | BookTicker | Kline | UnknownMessage
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**60, max_value=10**30)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            "",
            "0",
            "-0",
            "NaN",
            "1e5",
            "\x00",
            "\ud800",
            "9" * 30,
            "1." + "0" * 20,
            "\u0661",
            "depthUpdate",
            "kline",
        ]
    )
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, the document itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A right message with something else in one or two places, however deep."""
    document: Any = draw(st.sampled_from(DOCUMENTS))
    for _ in range(draw(st.integers(1, 2))):
        document = replaced(document, draw(st.sampled_from(places(document))), draw(_values))
    return document


@st.composite
def damaged(draw: st.DrawFn, texts: list[str]) -> bytes:
    """A right text with bytes taken out, put in, or turned over."""
    raw = bytearray(draw(st.sampled_from(texts)).encode())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        raw[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(raw)


def outcome(parse: Any, text: Any) -> Any:
    """What a parser returns, or None if it refused as it should; a refusal is short, whatever the input."""
    try:
        return parse(text)
    except InvalidInputError as error:
        refusal = error
    assert refusal.field
    assert len(str(refusal)) < 400
    return None


def assert_can_be_stored(message: Message) -> None:
    """Texts that any database takes, and integers of 64 bits where they are no prices or sizes."""
    for name in type(message).__slots__:
        value = getattr(message, name)
        if isinstance(value, str):
            assert value.isprintable()
            value.encode()
        elif isinstance(value, int) and not name.endswith("_e8"):
            assert -1 <= value < 2**63


@FUZZ
@given(documents())
def test_documents_with_anything_in_any_place(document: Any) -> None:
    message = outcome(parse_message, json.dumps(document))

    if message is not None:
        assert isinstance(message, KINDS)
        assert_can_be_stored(message)


@FUZZ
@given(damaged(TEXTS) | st.binary(max_size=40) | st.text(max_size=40))
@example(b"\xff\xfe{\x00}\x00")
@example("\ufeff{}")
@example('{"e": "\\ud800"}')
@example('{"s": 1, "s": 2}')
@example('{"e": Infinity}')
def test_damaged_texts(text: str | bytes) -> None:
    message = outcome(parse_message, text)

    assert message is None or isinstance(message, KINDS)


@FUZZ
@given(damaged([f"1723161254087891268 {text}" for text in TEXTS]) | st.text(max_size=40))
@example(f"{2**63 - 1} {{}}")
@example(f"{2**63} {{}}")
def test_damaged_capture_lines(line: str | bytes) -> None:
    parsed = outcome(parse_capture_line, line)

    if parsed is not None:
        assert isinstance(parsed, CaptureLine)
        assert 0 <= parsed.receive_time_ns < 2**63


def test_a_receive_time_beyond_64_bits_is_refused() -> None:
    assert parse_capture_line(f"{2**63 - 1} {{}}").receive_time_ns == 2**63 - 1
    with pytest.raises(InvalidInputError, match="receive_time_ns"):
        parse_capture_line(f"{2**63} {{}}")


@pytest.mark.parametrize(
    "around", ['{"e": %s}', '{"s": "X", "e": "trade", "E": %s}', "%s", '{"stream": %s, "data": {}}']
)
def test_lists_in_lists_of_any_depth(around: str) -> None:
    for level in [*range(1, 1000, 13), *range(900, 1100), 5_000, 200_000]:
        message = outcome(parse_message, around % ("[" * level + "]" * level))
        assert message is None or isinstance(message, UnknownMessage)


@pytest.mark.parametrize("symbol", ["\x00", "BTC\ud800", "BTC\nUSDT", ""])
def test_a_symbol_that_cannot_be_stored_is_refused(symbol: str) -> None:
    with pytest.raises(InvalidInputError, match="symbol"):
        parse_message(json.dumps(TRADE | {"s": symbol}))


def test_the_kind_of_an_unknown_message_is_short_and_printable() -> None:
    assert parse_message(json.dumps({"e": "x" * 1_000})) == UnknownMessage("x" * 80)
    for kind in ("\ud800", "a\x00b", [["trade"]], {"e": 1}, 10**1_000):
        assert parse_message(json.dumps({"e": kind})) == UnknownMessage("")


@FUZZ
@given(damaged([LINE, f"{LINE}\n{LINE}\r\n", "\n"]) | st.binary(max_size=80) | st.text(max_size=80))
def test_damaged_daily_files(text: str | bytes) -> None:
    frame = outcome(parse_daily_klines, text)

    if frame is not None:
        assert list(frame.columns) == ["open", "high", "low", "close", "volume", "trade_count"]
        assert str(frame.index.dtype) == "datetime64[us, UTC]"
        assert not frame.index.hasnans


@st.composite
def exchange_infos(draw: st.DrawFn) -> Any:
    info: Any = exchange_info()
    for _ in range(draw(st.integers(1, 2))):
        info = replaced(info, draw(st.sampled_from(places(info))), draw(_values))
    return info


@FUZZ
@given(
    exchange_infos() | damaged([json.dumps(exchange_info())]) | st.binary(max_size=40) | st.text(max_size=40)
)
def test_damaged_exchange_infos(document: Any) -> None:
    listed = outcome(lambda value: read_exchange_info(value, "BTC/USDT"), document)

    if listed is not None:
        assert listed.symbol == "BTC/USDT"
        assert (
            0
            <= min(listed.scales.price, listed.scales.size)
            <= max(listed.scales.price, listed.scales.size)
            <= 18
        )
        json.dumps(listed.details, allow_nan=False).encode()


@FUZZ
@given(st.text(max_size=30) | _values)
def test_decimal_texts(text: Any) -> None:
    count = outcome(lambda value: to_e8(value, "price"), text)

    assert count is None or (type(count) is int and 0 <= count < 10**26)


_ids = st.integers(0, 12) | st.integers(0, 2**63 - 1)
_levels = st.lists(st.tuples(st.integers(1, 9) | st.integers(1, 10**26), st.integers(0, 2)), max_size=4).map(
    tuple
)
_times = st.integers(0, 3_000) | st.integers(0, 10**14 - 1)
_messages = (
    st.builds(DepthDiff, st.just("BTCUSDT"), _times, _ids, _ids, _levels, _levels)
    | st.builds(DepthSnapshot, _ids, _levels, _levels)
    | st.builds(
        Trade, st.just("BTCUSDT"), _times, _times, _ids, st.integers(1, 10**26), st.integers(1, 9), st.just(1)
    )
    | st.builds(UnknownMessage, st.text(max_size=3))
)


@FUZZ
@given(st.lists(_messages, max_size=20))
def test_any_sequence_of_messages_is_replayed(messages: list[Message]) -> None:
    replay = StreamReplay(BookSampler(sample_ms=500, levels=3))
    for message in messages:
        replay.feed(message)

    trades = outcome(trade_columns, [m for m in messages if isinstance(m, Trade)])
    assert trades is None or len(trades) == sum(isinstance(m, Trade) for m in messages)
    assert len(book_columns(replay.books)) == len(replay.books)
    assert all(isinstance(fault, depth.SequenceGap | depth.CrossedBook) for fault in replay.faults)
