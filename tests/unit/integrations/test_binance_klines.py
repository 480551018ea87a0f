"""Candles as Binance sends and publishes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.daily_files import parse_daily_klines
from datalayer.integrations.binance.klines import Kline
from datalayer.integrations.binance.messages import parse_message

CANDLE = {
    "t": 1633998480000,
    "T": 1633998539999,
    "s": "LRCBTC",
    "i": "1m",
    "f": -1,
    "L": -1,
    "o": "0.00000638",
    "c": "0.00000639",
    "h": "0.00000640",
    "l": "0.00000637",
    "v": "177.00000000",
    "n": 0,
    "x": False,
}
MESSAGE = {"e": "kline", "E": 1633998534486, "s": "LRCBTC", "k": CANDLE}
LINE = (
    "1735689540000,93600.01000000,93616.05000000,93576.00000000,93577.00000000,5.48662000,1735689599999,"
    "513548.26425720,1062,3.26948000,306031.40828490,0"
)


def test_a_forming_silent_kline_is_read_exactly() -> None:
    kline = parse_message(json.dumps({"stream": "lrcbtc@kline_1m", "data": MESSAGE}))

    assert kline == Kline(
        "LRCBTC",
        1633998534486000,
        1633998480000000,
        "1m",
        638,
        640,
        637,
        639,
        17_700_000_000,
        0,
        is_closed=False,
    )
    assert kline.record() == {
        "symbol": "LRCBTC",
        "timeframe": "1m",
        "ts": datetime(2021, 10, 12, 0, 28, tzinfo=UTC),
        "open": Decimal("0.00000638"),
        "high": Decimal("0.00000640"),
        "low": Decimal("0.00000637"),
        "close": Decimal("0.00000639"),
        "volume": Decimal(177),
        "trade_count": 0,
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"o": 0.00000638}, "open"),
        ({"h": "0.00000000"}, "high"),
        ({"v": "-1"}, "volume"),
        ({"n": -1}, "trade_count"),
        ({"x": "false"}, "is_closed"),
        ({"i": ""}, "interval"),
        ({"t": 10**17}, "open_time_us"),
    ],
)
def test_a_malformed_field_of_a_kline_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_message(json.dumps(MESSAGE | {"k": CANDLE | change}))

    assert caught.value.field == field


@pytest.mark.parametrize("candle", [None, [], "x"])
def test_a_kline_without_its_candle_is_refused(candle: object) -> None:
    with pytest.raises(InvalidInputError, match="kline"):
        parse_message(json.dumps(MESSAGE | {"k": candle}))


def test_a_line_of_a_daily_file_in_milliseconds_and_in_microseconds() -> None:
    micro = LINE.replace("1735689540000", "1735689600000000")
    frame = parse_daily_klines(f"{LINE}\n{micro}\n".encode())

    times = pd.DatetimeIndex(["2024-12-31 23:59", "2025-01-01 00:00"], tz="UTC", name="timestamp").as_unit(
        "us"
    )
    values = {"open": 93600.01, "high": 93616.05, "low": 93576.0, "close": 93577.0, "volume": 5.48662}
    expected = pd.DataFrame(values | {"trade_count": 1062}, index=times)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_an_empty_daily_file_has_the_same_columns() -> None:
    frame = parse_daily_klines("\n")

    assert len(frame) == 0
    assert frame.dtypes.equals(parse_daily_klines(LINE).dtypes)
    assert str(frame.index.dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (LINE + ",1", "line 1"),
        (f"{LINE}\nopen_time,open", "line 2"),
        (LINE.replace("93616.05", "9361x.05"), "line 1 high"),
        (LINE.replace("5.48662000", "nan"), "line 1 volume"),
        (LINE.replace("5.48662000", ""), "line 1 volume"),
        (LINE.replace(",1062,", ",-1,"), "line 1 trade_count"),
        ("1e12" + LINE[13:], "line 1 open_time"),
        ("1" * 18 + LINE[13:], "line 1 open_time"),
        ("9" * 5000 + LINE[13:], "line 1 open_time"),
        (b"\xff" + LINE.encode(), "line 1 open_time"),
    ],
)
def test_line_and_column_of_a_malformed_daily_file_are_named(text: str | bytes, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_daily_klines(text)

    assert caught.value.field == field
    assert len(str(caught.value)) < 250
