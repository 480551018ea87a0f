"""The validator and a plain-Python oracle agree on every record: what is stored, what is refused and by which rule."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datalayer.domain.instrument import Instrument
from datalayer.domain.steps import to_steps
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import DataValidator, Notice, ValidationLimits, ValidationResult
from datalayer.errors import InvalidInputError
from datalayer.repositories import candles as candle_repository
from datalayer.repositories import order_books as book_repository
from datalayer.repositories import trades as trade_repository
from datalayer.repositories.batches import unique_by_key
from tests.validation_oracle import Oracle, Verdicts, fault_of

if TYPE_CHECKING:
    from datalayer.domain.order_book import OrderBookColumns

BTC = Instrument(1, "BTC/USDT", 2, 5)
NOW = datetime(2024, 8, 8, 12, tzinfo=UTC)
LIMITS = ValidationLimits()
VALIDATOR = DataValidator(BTC, LIMITS)
ORACLE = Oracle(BTC, LIMITS, NOW)
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(count: int, scale: int) -> st.SearchStrategy[Any]:
    """The same value in each way in which it may come."""
    exact = Decimal(count).scaleb(-scale)
    ways = [float(exact), exact, str(exact)]
    return st.sampled_from([*ways, int(exact)] if exact == int(exact) else ways)


def steps(low: int, high: int, scale: int) -> st.SearchStrategy[Any]:
    return st.integers(low, high).flatmap(lambda count: written(count, scale))


ODD_VALUES: list[Any] = [
    None,
    True,
    [],
    {},
    object(),
    pd.NA,
    "NaN",
    "sNaN",
    Decimal("sNaN"),
    Decimal("-Infinity"),
]
ODD_VALUES += ["1e999999999", 0, -1, -0.0, "0", 1.005, "1.005", 2**52 / 100, Decimal(2**52 + 1) / 100]
ODD_VALUES += [np.timedelta64(100, "ns"), np.datetime64(100, "ns"), np.longdouble(1.5)]
ODD_VALUES += [2**53, -(2**53), np.float64(1.5), np.int64(1), np.bool_(True), "1_0", "\x00"]  # noqa: FBT003 (a value)
ODD_TIMES: list[Any] = [None, pd.NaT, "2024-08-08", 1723118400000, 1723118400.0, date(2024, 8, 8), []]
ODD_TIMES += [
    np.datetime64("2024-08-08"),
    pd.Timestamp(NOW),
    pd.Timestamp(NOW).as_unit("ns") + pd.Timedelta(1),
]
ODD_TIMES += [NOW + timedelta(seconds=300), NOW + timedelta(seconds=300, microseconds=1)]
ODD_TIMES += [LIMITS.earliest, LIMITS.earliest - timedelta(microseconds=1)]
ODD_TIMES += [datetime.max.replace(tzinfo=ZoneInfo("America/New_York"))]
ODD_TIMES += [datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo"))]

odd_numbers = st.floats() | st.decimals() | st.integers() | st.text(max_size=6) | st.sampled_from(ODD_VALUES)
good_times = st.builds(
    lambda minute, zone: (NOW - timedelta(minutes=minute)).astimezone(zone),
    st.integers(0, 4),
    st.sampled_from([UTC, ZoneInfo("Asia/Kolkata"), timezone(timedelta(hours=-7))]),
)
odd_times = st.datetimes(timezones=st.just(UTC)) | st.datetimes() | st.sampled_from(ODD_TIMES)
odd_labels = st.sampled_from(
    [None, "BTCUSDT", "btc-usdt", "ETHUSDT", "1m", "5m", Timeframe.M1, Timeframe.H1, "", 7, [], "\x00"]
)
absent = object()


@st.composite
def changed(
    draw: st.DrawFn, record: dict[str, Any], odd: dict[str, st.SearchStrategy[Any]]
) -> dict[str, Any]:
    """A record, in every third case with something odd in some fields."""
    if draw(st.integers(0, 2)) == 0:
        for name in draw(st.lists(st.sampled_from(sorted(odd)), max_size=2)):
            value = draw(odd[name] | st.just(absent))
            record = {k: v for k, v in record.items() if k != name} | (
                {} if value is absent else {name: value}
            )
    return record


ODD_CANDLE = dict.fromkeys(["open", "high", "low", "close", "volume", "trade_count"], odd_numbers) | {
    "ts": odd_times,
    "symbol": odd_labels,
    "timeframe": odd_labels,
}
ODD_TRADE = dict.fromkeys(["trade_id", "price", "size", "side"], odd_numbers) | {
    "ts": odd_times,
    "symbol": odd_labels,
}


@st.composite
def candles(draw: st.DrawFn) -> dict[str, Any]:
    low, *middle, high = sorted(draw(st.lists(st.integers(100, 104), min_size=4, max_size=4)))
    if draw(st.integers(0, 9)) == 0:
        low, high = high, low
    record = {
        "ts": draw(good_times),
        "open": draw(written(middle[0], 2)),
        "high": draw(written(high, 2)),
        "low": draw(written(low, 2)),
        "close": draw(written(middle[1], 2)),
        "volume": draw(steps(0, 2, 5)),
        "trade_count": draw(st.sampled_from([None, 0, 1, 2, 2.0, float("nan")])),
    }
    return draw(changed(record, ODD_CANDLE))


@st.composite
def trades(draw: st.DrawFn) -> dict[str, Any]:
    record = {
        "ts": draw(good_times),
        "trade_id": draw(st.sampled_from([1, 2, 3.0, -(2**63), 2**63 - 1])),
        "price": draw(steps(1, 2, 2)),
        "size": draw(steps(1, 2, 5)),
        "side": draw(st.sampled_from([-1, 0, 1])),
    }
    return draw(changed(record, ODD_TRADE))


@st.composite
def sides(draw: st.DrawFn, side: str) -> dict[str, Any]:
    low = 100 if side == "bid" else draw(st.sampled_from([105, 105, 105, 102]))
    prices = draw(st.lists(st.integers(low, low + 4), max_size=4, unique=draw(st.integers(0, 4)) != 0))
    if draw(st.integers(0, 4)):
        prices.sort(reverse=side == "bid")
    names = (f"{side}_prices", f"{side}_sizes")
    levels = [draw(written(price, 2)) for price in prices]
    sizes = [draw(steps(0, 2, 5)) for _ in prices]
    if levels and draw(st.integers(0, 9)) == 0:
        draw(st.sampled_from([levels, sizes]))[draw(st.integers(0, len(levels) - 1))] = draw(odd_numbers)
    odd = st.sampled_from([None, "", "ab", 1.5, {}]) | st.lists(odd_numbers, max_size=3)
    return draw(changed({names[0]: levels, names[1]: sizes}, dict.fromkeys(names, odd)))


@st.composite
def order_books(draw: st.DrawFn) -> dict[str, Any]:
    record = {"ts": draw(good_times), "last_update_id": draw(st.sampled_from([None, -1, 5, 6]))}
    record |= draw(sides("bid")) | draw(sides("ask"))
    return draw(changed(record, {"ts": odd_times, "symbol": odd_labels, "last_update_id": odd_numbers}))


def assert_agrees(result: ValidationResult[Any], verdicts: Verdicts, records: list[dict[str, Any]]) -> None:
    assert result.accepted_rows.tolist() == verdicts.kept
    assert len(result.accepted) == len(verdicts.kept)
    refused = {r.row: (r.rule, r.field.partition("[")[0]) for r in result.rejected}
    assert refused == verdicts.refused
    told = {
        row: w.notice
        for w in result.warnings
        if w.notice in set(Notice) - _NOT_OF_ROWS
        for row in w.rows.tolist()
    }
    assert told == verdicts.told
    assert result.dropped_rows.tolist() == sorted(verdicts.told)
    assert [w.rows.tolist() for w in result.warnings if w.notice is Notice.DISORDER] == [verdicts.disorder][
        : bool(verdicts.disorder)
    ]
    # Nothing is lost: each row is in exactly one place, and a refused one is there with all its values.
    everywhere = [*result.accepted_rows, *result.dropped_rows, *result.rejected.rows]
    assert sorted(everywhere) == list(range(len(records)))
    for rejected in result.rejected:
        for name, value in records[rejected.row].items():
            assert is_same(rejected.record[name], value)


def is_same(kept: Any, given_: Any) -> bool:
    return kept is given_ or str(kept) == str(given_)


_NOT_OF_ROWS = {Notice.SPIKE, Notice.ZERO_SIZE_LEVELS, Notice.DISORDER}


@EXAMPLES
@given(st.lists(candles(), max_size=8))
def test_candles(records: list[dict[str, Any]]) -> None:
    result = VALIDATOR.validate_candles(records, "1m", now=NOW)
    verdicts = ORACLE.candles(records, Timeframe.M1)

    assert_agrees(result, verdicts, records)
    columns = candle_repository.candle_columns(result.accepted, BTC, Timeframe.M1)
    for column in columns[1:-1]:
        assert column.data.tolist() == [verdicts.rows[row][column.name] for row in verdicts.kept]
    assert len(records) == 0 or unique_by_key(columns, ["ts"]) == columns


@EXAMPLES
@given(st.lists(trades(), max_size=8))
def test_trades(records: list[dict[str, Any]]) -> None:
    result = VALIDATOR.validate_trades(records, now=NOW)
    verdicts = ORACLE.trades(records)

    assert_agrees(result, verdicts, records)
    columns = trade_repository.trade_columns(result.accepted, BTC)
    for column in columns[1:]:
        assert column.data.tolist() == [verdicts.rows[row][column.name] for row in verdicts.kept]


@EXAMPLES
@given(st.lists(order_books(), max_size=6))
def test_order_books(records: list[dict[str, Any]]) -> None:
    result = VALIDATOR.validate_order_books(records, now=NOW)
    verdicts = ORACLE.order_books(records)

    assert_agrees(result, verdicts, records)
    assert_stored_books(result.accepted, verdicts)


def assert_stored_books(books: OrderBookColumns, verdicts: Verdicts) -> None:
    columns = {column.name: column for column in book_repository.book_columns(books, BTC)}
    for side in ("bid", "ask"):
        for name in (f"{side}_prices", f"{side}_sizes"):
            lengths = columns[name].lengths
            assert lengths is not None
            stored = [row[:length].tolist() for row, length in zip(columns[name].data, lengths, strict=True)]
            assert stored == [verdicts.rows[row][name] for row in verdicts.kept]
    assert books.last_update_ids.tolist() == [verdicts.rows[row]["last_update_id"] for row in verdicts.kept]


@EXAMPLES
@given(st.lists(candles(), min_size=1, max_size=8))
def test_columns_and_records_are_judged_alike(records: list[dict[str, Any]]) -> None:
    by_record = VALIDATOR.validate_candles(records, "1m", now=NOW)
    names = ["ts", "open", "high", "low", "close", "volume", "trade_count", "symbol", "timeframe"]
    by_column = VALIDATOR.validate_candles({n: [r.get(n) for r in records] for n in names}, "1m", now=NOW)

    assert by_column.accepted_rows.tolist() == by_record.accepted_rows.tolist()
    assert [(r.row, r.rule, r.field) for r in by_column.rejected] == [
        (r.row, r.rule, r.field) for r in by_record.rejected
    ]
    pd.testing.assert_frame_equal(by_column.accepted, by_record.accepted)


_float_or_none = st.floats() | st.floats(0, 3).map(lambda value: round(value, 2))


@EXAMPLES
@given(st.lists(st.tuples(*[_float_or_none] * 5), max_size=6))
def test_frames_of_floats(rows: list[tuple[float, ...]]) -> None:
    names = ["open", "high", "low", "close", "volume"]
    times = pd.date_range("2024-08-08", periods=len(rows), freq="1min", tz="UTC")
    frame = pd.DataFrame(np.array(rows, dtype=np.float64).reshape(-1, 5), index=times, columns=names)
    records = [
        dict(zip(["ts", *names], (ts, *row), strict=True)) for ts, row in zip(times, rows, strict=True)
    ]

    result = VALIDATOR.validate_candles(frame, "1m", now=NOW)

    verdicts = ORACLE.candles(records, Timeframe.M1)
    assert result.accepted_rows.tolist() == verdicts.kept
    assert {r.row: (r.rule, r.field) for r in result.rejected} == verdicts.refused
    # What is accepted is handed on bit by bit.
    assert result.accepted.to_numpy().tobytes() == frame.to_numpy()[verdicts.kept].tobytes()


_padded = st.lists(
    st.sampled_from([float("nan"), 0.0, 1.0, 1.01, 1.02, 1.05, 1.06, 1.07]), min_size=12, max_size=12
)


@EXAMPLES
@given(st.lists(_padded, max_size=4))
def test_padded_books(rows: list[list[float]]) -> None:
    array = np.array(rows, dtype=np.float64).reshape(-1, 4, 3)
    names = ["bid_prices", "bid_sizes", "ask_prices", "ask_sizes"]
    times = pd.date_range("2024-08-08", periods=len(rows), freq="1s", tz="UTC")

    result = VALIDATOR.validate_order_books(
        {"ts": times} | {name: array[:, place] for place, name in enumerate(names)}, now=NOW
    )

    verdicts = ORACLE.order_books(
        [{"ts": ts} | without_padding(*sides) for ts, sides in zip(times, array, strict=True)]
    )
    assert result.accepted_rows.tolist() == verdicts.kept
    assert {r.row: (r.rule, r.field.partition("[")[0]) for r in result.rejected} == verdicts.refused
    assert_stored_books(result.accepted, verdicts)


def without_padding(*columns: np.ndarray) -> dict[str, list[float]]:
    lists = [column.tolist() for column in columns]
    for prices, sizes in (lists[:2], lists[2:]):
        while prices and np.isnan(prices[-1]) and np.isnan(sizes[-1]):
            prices.pop()
            sizes.pop()
    return dict(zip(["bid_prices", "bid_sizes", "ask_prices", "ask_sizes"], lists, strict=True))


@EXAMPLES
@given(odd_numbers, st.integers(0, 18))
@example(2**53 / 100, 2)
@example(Decimal(2**53) / 100, 2)
@example("0_", 0)
@example("\uff11", 0)
def test_the_oracle_knows_what_steps_can_hold(value: Any, scale: int) -> None:
    column = np.array([value, None], dtype=object)[:1]
    try:
        to_steps(column, scale, field="x")
    except InvalidInputError:
        assert fault_of(value, scale) is not None
    else:
        assert fault_of(value, scale) is None
