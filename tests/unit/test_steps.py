"""Values to whole steps and back, exact or refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from datalayer.domain.steps import MAX_STEPS, from_steps, infer_scale, to_steps
from datalayer.errors import InvalidInputError, ScaleError
from tests.market_files import SHARED_DATA, market_file

PARQUET_FILES = sorted(str(path.relative_to(SHARED_DATA)) for path in SHARED_DATA.glob("*/*.parquet"))
VALUE_COLUMNS = ["open", "high", "low", "close", "volume", "price", "size"]
LEVEL_COLUMNS = ["bid_prices", "bid_sizes", "ask_prices", "ask_sizes"]

scales = st.integers(0, 18)
counts = st.integers(-MAX_STEPS, MAX_STEPS)


@given(st.lists(counts, max_size=20), scales)
def test_any_count_survives_as_float_decimal_and_text(steps: list[int], scale: int) -> None:
    expected = np.array(steps, dtype=np.int64)
    floats, decimals = from_steps(expected, scale, "float"), from_steps(expected, scale, "decimal")
    assert floats.tolist() == [float(Decimal(count).scaleb(-scale)) for count in steps]
    np.testing.assert_array_equal(to_steps(decimals, scale, field="x"), expected)
    np.testing.assert_array_equal(to_steps([str(value) for value in decimals], scale, field="x"), expected)
    clear = np.abs(expected) < 2**52
    np.testing.assert_array_equal(to_steps(floats[clear], scale, field="x"), expected[clear])


@given(st.integers(2**52, MAX_STEPS), scales)
@example(7036874417766401, 2)
@example(8880868469683491, 14)
@example(MAX_STEPS, 15)  # whose twin is beyond the limit
def test_a_float_that_stands_for_two_counts_is_refused(count: int, scale: int) -> None:
    value = count / 10**scale
    twins = [other for other in (count - 1, count, count + 1) if other / 10**scale == value]
    for column in ([value], np.array([-value], dtype=object)):
        if twins == [count]:
            assert np.abs(to_steps(column, scale, field="x")).tolist() == [count]
        else:
            with pytest.raises(ScaleError, match=r"nearest float of two values|exceeds 2\*\*53"):
                to_steps(column, scale, field="x")


@given(st.floats(), scales)
def test_a_float_is_taken_exactly_if_its_shortest_text_fits(value: float, scale: int) -> None:
    text = Decimal(repr(value))
    fits = (
        text.is_finite()
        and abs(text) <= Decimal(MAX_STEPS).scaleb(-scale)
        and -text.as_tuple().exponent <= scale
    )
    if text.is_finite() and not fits:  # a trailing `.0` is no decimal
        fits = abs(text) <= Decimal(MAX_STEPS).scaleb(-scale) and text == round(text, min(scale, 400))
    if fits:
        assume(abs(text) < Decimal(2**52).scaleb(-scale))
        assert int(to_steps([value], scale, field="x")[0]) == int(text.scaleb(scale))
    else:
        with pytest.raises(ScaleError):
            to_steps([value], scale, field="x")


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.text(), scales)
def test_objects_are_exact_or_refused(value: Decimal | str, scale: int) -> None:
    try:
        steps = to_steps(np.array([value], dtype=object), scale, field="x")
    except InvalidInputError:
        return
    assert Decimal(int(steps[0])).scaleb(-scale) == Decimal(value)


@pytest.mark.parametrize(
    ("value", "scale", "reason"),
    [
        (
            11.123,
            2,
            "more than 2 decimals; the instrument needs a larger scale, which `datalayer instruments widen`",
        ),
        (0.1 + 0.2, 2, "more than 2 decimals"),
        (np.float32(0.1), 4, "more than 4 decimals"),
        (float("nan"), 2, "not a finite number"),
        (float("inf"), 2, "not a finite number"),
        (1e300, 2, "exceeds"),
        (1e14, 2, "exceeds"),
        (Decimal("0." + "0" * 80 + "1"), 2, "more than 2 decimals"),
        (Decimal("1.1" + "0" * 80 + "1"), 2, "more than 2 decimals"),
        (Decimal("sNaN"), 2, "not a finite number"),
        ("1e999999999", 2, "exceeds"),
        (2**53 + 1, 0, "exceeds"),
        (2**62, 2, "exceeds"),
    ],
)
def test_what_steps_cannot_hold_is_refused_with_column_value_and_row(
    value: object, scale: int, reason: str
) -> None:
    column = (
        np.array([value, value]) if isinstance(value, np.floating) else np.array([1.0, value], dtype=object)
    )
    with pytest.raises(ScaleError, match=reason) as refused:
        to_steps(column, scale, field="close")
    assert refused.value.field == "close"
    assert f"row {0 if isinstance(value, np.floating) else 1}" in refused.value.hint


def test_the_row_of_a_float_column_is_named() -> None:
    with pytest.raises(ScaleError, match=r"close=11000\.123: row 7 has more than 2 decimals"):
        to_steps(np.array([11000.12] * 7 + [11000.123]), 2, field="close")


@pytest.mark.parametrize("value", ["", "eleven", "1,5", "1_0", "\uff11", True, None, pd.NA, object()])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="row 0 is no number"):
        to_steps(np.array([value], dtype=object), 2, field="close")


def test_integers_and_empty_columns() -> None:
    assert to_steps(np.array([1, -2], dtype=np.int16), 3, field="x").tolist() == [1000, -2000]
    assert to_steps([], 3, field="x").tolist() == []
    assert from_steps(np.array([], dtype=np.int64), 3, "decimal").tolist() == []
    assert infer_scale([]) == 0


def test_decimals_have_exactly_the_digits_of_the_scale() -> None:
    assert [str(value) for value in from_steps(np.array([0, 5, -1250]), 3, "decimal")] == [
        "0.000",
        "0.005",
        "-1.250",
    ]


def test_a_sum_beyond_the_exact_floats_is_still_the_nearest_float() -> None:
    steps = np.array([2**62 + 1, -(2**62 + 257), 3**39], dtype=np.int64)
    exact = [float(Decimal(int(count)).scaleb(-8)) for count in steps]
    assert from_steps(steps, 8).tolist() == exact


def test_unknown_price_types_and_scales_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="float, decimal, fixed"):
        from_steps(np.array([1]), 2, "text")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="0 to 18"):
        to_steps([1.0], 19, field="x")


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.integers(0, 6))
def test_the_inferred_scale_is_the_smallest_that_holds_all(steps: list[int], scale: int) -> None:
    values = np.array(steps) / 10.0**scale
    inferred = infer_scale(values)
    np.testing.assert_array_equal(from_steps(to_steps(values, inferred, field="x"), inferred), values)
    if inferred:
        with pytest.raises(ScaleError):
            to_steps(values, inferred - 1, field="x")


def test_no_scale_is_inferred_for_what_none_up_to_12_holds() -> None:
    with pytest.raises(ScaleError, match="more than 12 decimals"):
        infer_scale([1e-13])


@pytest.mark.skipif(not PARQUET_FILES, reason="the real market data are not beside this checkout")
@pytest.mark.parametrize("name", PARQUET_FILES)
def test_every_real_price_and_size_survives(name: str) -> None:
    frame = pd.read_parquet(market_file(name))
    checked = 0
    for column in [name for name in VALUE_COLUMNS + LEVEL_COLUMNS if name in frame]:
        if column == "volume" and "derived" in name:
            continue  # added up in floats by whoever derived it; see the next test
        levels = column in LEVEL_COLUMNS
        values = np.concatenate(frame[column].to_list()) if levels else frame[column].to_numpy()
        scale = infer_scale(values)
        # Compared as bits, which also tells -0.0 from 0.0.
        assert from_steps(to_steps(values, scale, field=column), scale).tobytes() == values.tobytes()
        checked += len(values)
    assert checked >= len(frame)


def test_a_volume_added_up_in_floats_is_not_taken_for_an_exact_one() -> None:
    name = "ohlcv/binance_spot_BTCUSDT_1s_derived_from_trades_20240808-09.parquet"
    volume = pd.read_parquet(market_file(name))["volume"].to_numpy()
    with pytest.raises(ScaleError, match=r"volume=0\.026619999999999998: row 5 has more than 5 decimals"):
        to_steps(volume, 5, field="volume")
    assert to_steps(volume.round(5), 5, field="volume").sum() == round(volume.sum() * 10**5)


@pytest.mark.parametrize(
    ("name", "scale", "too_wide"),
    [("binance_spot_BTCUSDT_1m_2018", 2, 1), ("binance_spot_BTCUSDT_1m_2024", 2, 0)],
)
def test_the_one_real_price_with_three_decimals_is_found(name: str, scale: int, too_wide: int) -> None:
    frame = pd.read_parquet(market_file(f"ohlcv/{name}.parquet"))
    prices = frame[["open", "high", "low", "close"]].to_numpy()
    assert infer_scale(prices) == scale + too_wide
    if too_wide:
        with pytest.raises(ScaleError, match="more than 2 decimals"):
            to_steps(prices, scale, field="price")
