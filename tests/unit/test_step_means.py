"""Means of steps are rounded once."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.step_means import mean_of_steps
from datalayer.errors import InvalidInputError

SUMS = st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**54), 2**54) | st.integers(-1000, 1000)
PAIRS = st.lists(st.tuples(SUMS, st.integers(0, 2**40)), max_size=20)


@given(PAIRS, st.integers(0, 18))
def test_each_is_nearest_to_the_exact_mean(pairs: list[tuple[int, int]], scale: int) -> None:
    sums, counts = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    exact = [Fraction(total, count * 10**scale) if count else None for total, count in pairs]
    floats = mean_of_steps(sums, counts, scale)
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats, [np.nan if one is None else float(one) for one in exact])
    steps = [np.nan if one is None else float(one * 10**scale) for one in exact]
    np.testing.assert_array_equal(mean_of_steps(sums, counts, scale, "fixed"), steps)
    rounding = Context(prec=34, rounding=ROUND_HALF_EVEN)
    decimals = [one and rounding.divide(Decimal(one.numerator), Decimal(one.denominator)) for one in exact]
    assert mean_of_steps(sums, counts, scale, "decimal").tolist() == decimals


def test_what_is_not_possible_is_refused() -> None:
    nothing = np.zeros(0, np.int64)
    with pytest.raises(InvalidInputError, match="price_type='text'"):
        mean_of_steps(nothing, nothing, 2, "text")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="scale=19"):
        mean_of_steps(nothing, nothing, 19)
