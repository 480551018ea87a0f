"""Scales from what the exchange says, from a scan, and from the first data."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.instrument import Instrument
from datalayer.domain.scales import GROWTH, HEADROOM_DIGITS, Scales, ScaleScan, inferred_scales, scale_of_step
from datalayer.domain.steps import MAX_STEPS, to_steps
from datalayer.errors import InvalidInputError, ScaleError
from tests.market_files import market_frame


@pytest.mark.parametrize(
    ("step", "scale"),
    [("0.01000000", 2), ("0.5", 1), ("1.00000000", 0), ("10", 0), (Decimal("0.00001"), 5), ("1e-18", 18)],
)
def test_a_step_says_how_many_decimals_it_needs(step: str | Decimal, scale: int) -> None:
    assert scale_of_step(step) == scale


@pytest.mark.parametrize("step", ["0", "-0.1", "NaN", "Infinity", "", "tick", "1e-19", 0.1, None, True])
def test_what_is_no_step_is_refused(step: object) -> None:
    with pytest.raises(InvalidInputError, match="tickSize"):
        scale_of_step(step, "tickSize")


def test_a_scan_of_a_real_year_finds_its_one_price_with_three_decimals() -> None:
    frame = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet")
    scan = ScaleScan()
    for start in range(0, len(frame), 100_000):
        piece = frame.iloc[start : start + 100_000]
        scan.add(prices=piece[["open", "high", "low", "close"]].to_numpy(), sizes=piece["volume"].to_numpy())
    assert scan.scales == Scales(3, 6)
    assert Scales(2, 8).covering(scan.scales) == Scales(3, 8)


def test_a_scan_that_no_scale_can_hold_is_refused() -> None:
    scan = ScaleScan()
    scan.add(prices=["0.000000000001"], sizes=[1])
    scan.add(prices=[100_000])
    with pytest.raises(ScaleError, match="prices"):
        _ = scan.scales
    assert ScaleScan().scales == Scales(0, 0)


def test_the_first_data_get_headroom() -> None:
    assert inferred_scales([61837.6], ["0.5"]) == Scales(3, 3)
    assert inferred_scales(np.array([0.000012]), [10**12]) == Scales(8, 0)


@given(st.lists(st.decimals(0, 10**9, places=6), min_size=1), st.integers(0, 6))
def test_inferred_scales_hold_the_data_and_what_may_come(values: list[Decimal], places: int) -> None:
    rounded = [round(value, places) for value in values]
    scale = inferred_scales(np.array(rounded, dtype=object), [1]).price
    to_steps(np.array(rounded, dtype=object), scale, field="x")
    needed = ScaleScan()
    needed.add(prices=np.array(rounded, dtype=object))
    assert needed.scales.price <= scale <= needed.scales.price + HEADROOM_DIGITS
    assert scale == needed.scales.price or max(rounded) * GROWTH * 10**scale <= MAX_STEPS


def test_nothing_to_infer_from_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="sizes"):
        inferred_scales([1.5], [])


def test_an_instrument_turns_values_into_its_steps_and_back() -> None:
    btc = Instrument(1, "BTC/USDT", 2, 5)
    assert btc.price_steps([61837.63, 1]).tolist() == [6183763, 100]
    assert btc.size_steps(["0.00001", Decimal(2)]).tolist() == [1, 200000]
    assert btc.prices(np.array([6183763])).tolist() == [61837.63]
    assert btc.sizes(np.array([1]), "decimal").tolist() == [Decimal("0.00001")]
    with pytest.raises(ScaleError, match="which `datalayer instruments widen` gives it"):
        btc.price_steps([1.234])
