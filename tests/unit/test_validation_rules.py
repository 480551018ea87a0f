"""Each rule by name, with the field and the value that it reports; and what a single record may look like."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datalayer.domain.instrument import Instrument
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import DataValidator, Rule, ValidationLimits
from datalayer.errors import InvalidInputError

NOW = datetime(2024, 8, 8, 12, tzinfo=UTC)
VALIDATOR = DataValidator(Instrument(1, "BTC/USDT", 2, 5))
CANDLE = {"ts": NOW, "open": 2.0, "high": 4.0, "low": 1.0, "close": 3.0, "volume": 0.5, "trade_count": 7}
TRADE = {"ts": NOW, "trade_id": 1, "price": 100.5, "size": 0.00001, "side": -1}
BOOK = {
    "ts": NOW,
    "bid_prices": [10.0, 9.0, 8.0],
    "bid_sizes": [1.0, 2.0, 3.0],
    "ask_prices": [11.0, 12.0],
    "ask_sizes": [1.0, 2.0],
    "last_update_id": 5,
}
NAIVE = NOW.replace(tzinfo=None)
TOO_LATE = NOW + timedelta(minutes=6)
MANY = [float(i) for i in range(20_000, 17_900, -1)]

CANDLES: list[tuple[dict[str, Any], Rule, str, Any]] = [
    ({"symbol": "ETH/USDT"}, Rule.SYMBOL, "symbol", "ETH/USDT"),
    ({"timeframe": "5m"}, Rule.TIMEFRAME, "timeframe", "5m"),
    ({"ts": None}, Rule.PRESENT, "ts", None),
    ({"ts": 1723118400000}, Rule.TIME, "ts", 1723118400000),
    ({"ts": "2024-08-08T12:00:00+00:00"}, Rule.TIME, "ts", "2024-08-08T12:00:00+00:00"),
    ({"ts": NAIVE}, Rule.UTC, "ts", NAIVE),
    ({"ts": pd.Timestamp(1, tz="UTC")}, Rule.MICROSECONDS, "ts", pd.Timestamp(1, tz="UTC")),
    ({"ts": datetime(1970, 1, 20, tzinfo=UTC)}, Rule.PLAUSIBLE_TIME, "ts", datetime(1970, 1, 20, tzinfo=UTC)),
    ({"ts": TOO_LATE}, Rule.NOT_IN_FUTURE, "ts", TOO_LATE),
    ({"ts": NOW - timedelta(seconds=1)}, Rule.ON_GRID, "ts", NOW - timedelta(seconds=1)),
    ({"open": None}, Rule.PRESENT, "open", None),
    ({"open": "two"}, Rule.NUMBER, "open", "two"),
    ({"open": True}, Rule.NUMBER, "open", True),
    ({"high": float("inf")}, Rule.FINITE, "high", float("inf")),
    ({"volume": "NaN"}, Rule.FINITE, "volume", "NaN"),
    ({"close": 3.001}, Rule.REPRESENTABLE, "close", 3.001),
    ({"close": Decimal("3.001")}, Rule.REPRESENTABLE, "close", Decimal("3.001")),
    ({"volume": 10**30}, Rule.REPRESENTABLE, "volume", 10**30),
    ({"high": 7036874417766401 / 100}, Rule.REPRESENTABLE, "high", 7036874417766401 / 100),
    ({"low": 0}, Rule.POSITIVE_PRICE, "low", 0),
    ({"open": "-2"}, Rule.POSITIVE_PRICE, "open", "-2"),
    ({"volume": -0.5}, Rule.VOLUME_GE_ZERO, "volume", -0.5),
    ({"high": 0.5}, Rule.HIGH_GE_LOW, "high", 0.5),
    ({"open": 4.01}, Rule.OPEN_WITHIN, "open", 4.01),
    ({"close": 0.99}, Rule.CLOSE_WITHIN, "close", 0.99),
    ({"trade_count": 1.5}, Rule.WHOLE_NUMBER, "trade_count", 1.5),
    ({"trade_count": -1}, Rule.WHOLE_NUMBER, "trade_count", -1),
    ({"trade_count": 2**31}, Rule.WHOLE_NUMBER, "trade_count", 2**31),
]
TRADES: list[tuple[dict[str, Any], Rule, str, Any]] = [
    ({"symbol": "?"}, Rule.SYMBOL, "symbol", "?"),
    ({"trade_id": None}, Rule.PRESENT, "trade_id", None),
    ({"trade_id": "1"}, Rule.WHOLE_NUMBER, "trade_id", "1"),
    ({"trade_id": 2**63}, Rule.WHOLE_NUMBER, "trade_id", 2**63),
    ({"trade_id": 2.0**53}, Rule.WHOLE_NUMBER, "trade_id", 2.0**53),
    ({"price": 0.0}, Rule.POSITIVE_PRICE, "price", 0.0),
    ({"size": 0.0}, Rule.POSITIVE_SIZE, "size", 0.0),
    ({"size": 0.000001}, Rule.REPRESENTABLE, "size", 0.000001),
    ({"side": 2}, Rule.SIDE, "side", 2),
    ({"side": "buy"}, Rule.SIDE, "side", "buy"),
    ({"side": None}, Rule.PRESENT, "side", None),
]
BOOKS: list[tuple[dict[str, Any], Rule, str, Any]] = [
    ({"ts": NAIVE}, Rule.UTC, "ts", NAIVE),
    ({"bid_prices": None}, Rule.PRESENT, "bid_prices", None),
    ({"bid_prices": "10"}, Rule.LEVELS, "bid_prices", "10"),
    ({"bid_sizes": [1.0]}, Rule.LEVELS, "bid_sizes", [1.0]),
    ({"bid_prices": [10.0, None, 8.0]}, Rule.PRESENT, "bid_prices[1]", None),
    ({"ask_sizes": [1.0, "x"]}, Rule.NUMBER, "ask_sizes[1]", "x"),
    ({"ask_prices": [11.0, float("nan")]}, Rule.FINITE, "ask_prices[1]", float("nan")),
    ({"ask_prices": [11.0, 12.001]}, Rule.REPRESENTABLE, "ask_prices[1]", 12.001),
    (
        {"ask_prices": [11.0, Decimal(2**53 - 1) / 100]},
        Rule.REPRESENTABLE,
        "ask_prices[1]",
        Decimal(2**53 - 1) / 100,
    ),
    ({"bid_prices": [10.0, 9.0, -8.0]}, Rule.POSITIVE_PRICE, "bid_prices[2]", -8.0),
    ({"ask_sizes": [-1.0, 2.0]}, Rule.POSITIVE_SIZE, "ask_sizes[0]", -1.0),
    ({"bid_prices": [10.0, 8.0, 9.0]}, Rule.SORTED_LEVELS, "bid_prices[2]", 9.0),
    ({"ask_prices": [12.0, 11.0]}, Rule.SORTED_LEVELS, "ask_prices[1]", 11.0),
    ({"ask_prices": [11.0, 11.0]}, Rule.UNIQUE_LEVELS, "ask_prices[1]", 11.0),
    ({"bid_prices": [11.0, 9.0, 8.0]}, Rule.BIDS_BELOW_ASKS, "bid_prices[0]", 11.0),
    (
        {"ask_prices": [], "ask_sizes": [], "bid_prices": MANY, "bid_sizes": ["45035996273.70"] * 2_100},
        Rule.REPRESENTABLE,
        "bid_sizes",
        ["45035996273.70"] * 2_100,
    ),
    ({"last_update_id": -2}, Rule.WHOLE_NUMBER, "last_update_id", -2),
    # The place of a level is that in the list as given, also where others were left out for having no size.
    ({"bid_sizes": [0.0, 1.0, -1.0]}, Rule.POSITIVE_SIZE, "bid_sizes[2]", -1.0),
    ({"bid_prices": [7.0, 12.0, 8.0], "bid_sizes": [0, 1, 1]}, Rule.BIDS_BELOW_ASKS, "bid_prices[1]", 12.0),
]


def assert_rejected(result: Any, kind: str, record: dict[str, Any], broken: tuple[Rule, str, Any]) -> None:
    (rejected,) = result.rejected
    assert len(result.accepted) == 0
    assert (rejected.row, rejected.kind, rejected.rule, rejected.field) == (0, kind, *broken[:2])
    assert (
        str(rejected.value) == str(broken[2])
        if not isinstance(broken[2], int)
        else rejected.value == broken[2]
    )
    assert rejected.message.startswith(rejected.field)
    assert rejected.record["ts"] == record["ts"]
    assert rejected.payload == b"as received"
    readable = isinstance(record["ts"], datetime) and record["ts"].tzinfo is not None
    assert (rejected.ts is not None) == readable
    assert len(rejected.value_text) <= 200


@pytest.mark.parametrize(("change", "rule", "field", "value"), CANDLES)
def test_rules_of_candles(change: dict[str, Any], rule: Rule, field: str, value: Any) -> None:
    result = VALIDATOR.validate_candle(CANDLE | change, "1m", now=NOW, payload=b"as received")

    assert_rejected(result, "candle", CANDLE | change, (rule, field, value))


@pytest.mark.parametrize(("change", "rule", "field", "value"), TRADES)
def test_rules_of_trades(change: dict[str, Any], rule: Rule, field: str, value: Any) -> None:
    result = VALIDATOR.validate_trade(TRADE | change, now=NOW, payload="as received")

    assert_rejected(result, "trade", TRADE | change, (rule, field, value))


@pytest.mark.parametrize(("change", "rule", "field", "value"), BOOKS)
def test_rules_of_order_books(change: dict[str, Any], rule: Rule, field: str, value: Any) -> None:
    result = VALIDATOR.validate_order_book(BOOK | change, now=NOW, payload=b"as received")

    assert_rejected(result, "order_book", BOOK | change, (rule, field, value))


def test_a_number_too_long_to_be_shown_is_refused_and_kept() -> None:
    huge = 10**5_000
    (rejected,) = VALIDATOR.validate_candle(CANDLE | {"volume": huge}, "1m", now=NOW).rejected

    assert rejected.rule is Rule.REPRESENTABLE
    assert rejected.value is huge
    assert rejected.value_text == "<int that cannot be shown>"


def test_texts_for_the_database_hold_nothing_that_it_refuses() -> None:
    (rejected,) = VALIDATOR.validate_candle(
        CANDLE | {"open": "1\x00\ud800" + "é" * 500}, "1m", now=NOW
    ).rejected

    assert rejected.value_text.startswith(r"1\x00\ud800\xe9")
    assert len(rejected.value_text) == 200
    assert rejected.message.isprintable()


def test_every_rule_of_a_single_record_is_shown_above() -> None:
    assert {rule for _, rule, *_ in CANDLES + TRADES + BOOKS} == set(Rule) - {Rule.NO_CONFLICT}


def test_the_first_broken_rule_is_the_one_that_is_told() -> None:
    (rejected,) = VALIDATOR.validate_candle(CANDLE | {"open": 9.001, "high": -1, "ts": NAIVE}, "1m").rejected

    assert (rejected.rule, rejected.field) == (Rule.UTC, "ts")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTCUSDT", "btc-usdt", None])
def test_a_good_candle_in_any_dress(symbol: str | None) -> None:
    exact = {name: Decimal(str(CANDLE[name])) for name in ("open", "high", "low", "close", "volume")}
    texts = {name: str(value) for name, value in exact.items()}
    labels = {"symbol": symbol, "timeframe": Timeframe.M1}
    for record in (
        CANDLE,
        CANDLE | exact | labels,
        CANDLE | texts | labels,
        SimpleNamespace(**CANDLE, **labels),
    ):
        result = VALIDATOR.validate_candle(record, "1m", now=NOW)

        assert result.is_clean
        assert result.warnings == ()
        assert result.accepted.index.tolist() == [pd.Timestamp(NOW)]
        assert result.accepted.dtypes.astype(str).to_dict() == dict.fromkeys(exact, "float64") | {
            "trade_count": "Int64"
        }
        assert result.accepted.iloc[0].to_dict() == {k: v for k, v in CANDLE.items() if k != "ts"}


def test_a_joined_spelling_that_could_be_two_symbols_is_that_of_the_instrument() -> None:
    own = DataValidator(Instrument(1, "OMG/BUSD", 2, 5))

    assert own.validate_trade(TRADE | {"symbol": "OMGBUSD"}, now=NOW).is_clean
    assert not own.validate_trade(TRADE | {"symbol": "OMGB/USD"}, now=NOW).is_clean


def test_a_candle_may_say_its_timeframe_itself() -> None:
    record = CANDLE | {"timeframe": "1h"}

    assert VALIDATOR.validate_candle(record, now=NOW).is_clean
    with pytest.raises(InvalidInputError, match="timeframe"):
        VALIDATOR.validate_candle(CANDLE, now=NOW)


def test_good_trades_and_books() -> None:
    trades = VALIDATOR.validate_trade(SimpleNamespace(symbol="BTCUSDT", **TRADE), now=NOW)
    books = VALIDATOR.validate_order_book(SimpleNamespace(symbol="BTCUSDT", **BOOK), now=NOW)

    assert trades.accepted.iloc[0].to_dict() == {k: v for k, v in TRADE.items() if k != "ts"}
    assert trades.accepted.dtypes.astype(str).tolist() == ["int64", "float64", "float64", "int8"]
    assert books.accepted.bid_prices.tolist() == [BOOK["bid_prices"]]
    assert books.accepted.ask_sizes.tolist() == [BOOK["ask_sizes"]]
    assert books.accepted.last_update_ids.tolist() == [5]
    assert VALIDATOR.validate_order_books(books.accepted, now=NOW).accepted.bid_sizes.tolist() == [
        BOOK["bid_sizes"]
    ]


def test_empty_sides_are_accepted() -> None:
    empty = {"bid_prices": [], "bid_sizes": [], "last_update_id": None}
    books = VALIDATOR.validate_order_books([BOOK | empty], now=NOW).accepted

    assert books.bid_counts.tolist() == [0]
    assert books.last_update_ids.tolist() == [UNKNOWN_UPDATE_ID]


@pytest.mark.parametrize("seconds", [0, 1.27, 300])
def test_a_receive_clock_that_is_behind_is_no_error(seconds: float) -> None:
    trade = TRADE | {"ts": NOW + timedelta(seconds=seconds)}

    assert VALIDATOR.validate_trade(trade, now=NOW).is_clean
    (rejected,) = VALIDATOR.validate_trade(trade, now=NOW - timedelta(seconds=300, microseconds=1)).rejected
    assert rejected.rule is Rule.NOT_IN_FUTURE


def test_limits_can_be_set_and_are_checked() -> None:
    strict = DataValidator(VALIDATOR.instrument, ValidationLimits(earliest=NOW, future_s=0))

    assert strict.validate_trade(TRADE, now=NOW).is_clean
    assert not strict.validate_trade(TRADE | {"ts": NOW - timedelta(microseconds=1)}, now=NOW).is_clean
    assert not strict.validate_trade(TRADE, now=NOW - timedelta(microseconds=1)).is_clean
    for wrong in ({"earliest": NAIVE}, {"future_s": -1.0}, {"future_s": float("nan")}, {"spike": 0.0}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            ValidationLimits(**wrong)  # type: ignore[arg-type]


def test_the_clock_of_this_machine_is_the_default() -> None:
    ahead = TRADE | {"ts": datetime.now(UTC) + timedelta(days=1)}

    assert VALIDATOR.validate_trade(TRADE).is_clean
    assert VALIDATOR.validate_trade(ahead).rejected.counts() == {Rule.NOT_IN_FUTURE: 1}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (pd.DataFrame({"open": [1.0]}), "columns"),
        (pd.DataFrame([[1.0, 2.0]], columns=["open", "open"]), "columns"),
        ({"ts": [NOW], "open": [1.0]}, "columns"),
        ({**{name: [value] for name, value in CANDLE.items()}, "open": [1.0, 2.0]}, "columns"),
        (CANDLE, "ts"),
        ({name: [value] for name, value in CANDLE.items()} | {"open": np.ones((1, 2))}, "open"),
        ("candles", "data"),
        (7, "data"),
    ],
)
def test_data_of_another_shape_raise(data: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        VALIDATOR.validate_candles(data, "1m", now=NOW)

    assert caught.value.field == field


@pytest.mark.parametrize("garbage", ["no record", 7, None, [1, 2]])
def test_what_is_no_record_is_kept_with_the_rejected(garbage: Any) -> None:
    result = VALIDATOR.validate_trades([TRADE, garbage], now=NOW)

    (rejected,) = result.rejected
    assert len(result.accepted) == 1
    assert (rejected.row, rejected.rule, rejected.field) == (1, Rule.PRESENT, "ts")
    assert rejected.record["record"] is garbage


def test_a_naive_clock_and_too_few_payloads_raise() -> None:
    with pytest.raises(InvalidInputError, match="now"):
        VALIDATOR.validate_trades([TRADE], now=NAIVE)
    with pytest.raises(InvalidInputError, match="payloads"):
        VALIDATOR.validate_trades([TRADE, TRADE], now=NOW, payloads=[b""])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_frames_of_naive_times_are_refused_and_aware_ones_are_not(unit: str) -> None:
    naive = pd.DatetimeIndex([NAIVE, None]).as_unit(unit)  # type: ignore[arg-type]
    frame = pd.DataFrame([CANDLE] * 2).drop(columns="ts")

    for given in (frame.set_index(naive), frame.assign(ts=naive), frame.assign(timestamp=naive.to_numpy())):
        counts = VALIDATOR.validate_candles(given, "1m", now=NOW).rejected.counts()
        assert counts == {Rule.UTC: 1, Rule.PRESENT: 1}
    for zone in ("UTC", "Asia/Tokyo"):
        aware = naive.tz_localize("UTC").tz_convert(zone)
        result = VALIDATOR.validate_candles(frame.set_index(aware), "1m", now=NOW)
        assert result.rejected.counts() == {Rule.PRESENT: 1}
        assert result.accepted.index.tolist() == [pd.Timestamp(NOW)]
        assert str(result.accepted.index.dtype) == "datetime64[us, UTC]"


def test_times_of_any_unit_beyond_64_bits_of_microseconds_are_refused() -> None:
    far = pd.DatetimeIndex(np.array([2**62, -(2**62)]).astype("datetime64[s]")).tz_localize("UTC")
    rejected = VALIDATOR.validate_trades(
        pd.DataFrame([TRADE] * 2).drop(columns="ts").set_index(far), now=NOW
    ).rejected

    assert [r.rule for r in rejected] == [Rule.NOT_IN_FUTURE, Rule.PLAUSIBLE_TIME]
    assert [r.ts for r in rejected] == [None, None]


def test_nullable_columns_go_like_plain_ones() -> None:
    frame = pd.DataFrame([CANDLE, CANDLE | {"ts": NOW - timedelta(minutes=1)}]).astype(
        {"open": "Float64", "high": "float64[pyarrow]", "trade_count": "Int64"}
    )
    frame.loc[1, "trade_count"] = pd.NA
    result = VALIDATOR.validate_candles(frame, "1m", now=NOW)

    assert result.is_clean
    assert result.accepted["open"].tolist() == [2.0, 2.0]
    assert result.accepted["trade_count"].isna().tolist() == [True, False]
    frame.loc[0, "open"] = pd.NA
    assert VALIDATOR.validate_candles(frame, "1m", now=NOW).rejected.counts() == {Rule.PRESENT: 1}
