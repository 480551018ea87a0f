from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.errors import InvalidInputError, ScaleError
from datalayer.integrations.fields import E8
from datalayer.integrations.tick_aggregation import TradeColumns, aggregate_trades, candle_frame

if TYPE_CHECKING:
    import random

    from datalayer.integrations.binance.replay import StreamReplay

Row = tuple[int, int, int, int]


def columns(rows: list[Row]) -> TradeColumns:
    table = np.array(rows, np.int64).reshape(-1, 4)
    return TradeColumns(
        table[:, 0].astype("datetime64[us]"),
        table[:, 1],
        table[:, 2],
        table[:, 3],
        np.zeros(len(table), np.int8),
    )


def as_rows(trades: TradeColumns) -> list[tuple[int, ...]]:
    candles = aggregate_trades(trades)
    names = ("open", "high", "low", "close", "volume", "trade_count")
    seconds = candles.timestamps.astype(np.int64) // 1_000_000
    return list(zip(seconds.tolist(), *(getattr(candles, name).tolist() for name in names), strict=True))


def plain(rows: list[Row]) -> list[tuple[int, ...]]:
    """The definition, one trade after the other."""
    candles: dict[int, list[int]] = {}
    for time, _, price, size in sorted(rows):
        candle = candles.setdefault(time // 1_000_000, [price, price, price, price, 0, 0])
        candle[1], candle[2], candle[3] = max(candle[1], price), min(candle[2], price), price
        candle[4] += size
        candle[5] += 1
    return [(second, *values) for second, values in sorted(candles.items())]


def test_the_trade_id_orders_a_millisecond() -> None:
    rows = [(5_000, 3, 30, 1), (5_000, 1, 10, 1), (5_000, 2, 20, 1)]

    assert as_rows(columns(rows)) == [(0, 10, 30, 10, 30, 3, 3)]


def test_silent_seconds_are_absent_and_a_repeated_trade_counts_once() -> None:
    rows = [(0, 1, 10, 5), (999_999, 2, 11, 5), (2_000_000, 3, 12, 5), (2_000_000, 3, 12, 5)]

    assert as_rows(columns(rows)) == [(0, 10, 11, 10, 11, 10, 2), (2, 12, 12, 12, 12, 5, 1)]


def test_no_trades_are_no_candles() -> None:
    frame = candle_frame(aggregate_trades(columns([])), price_step=1, size_step=1)

    assert frame.empty
    assert frame.dtypes.astype(str).to_dict() == dict.fromkeys(
        ["open", "high", "low", "close", "volume"], "float64"
    ) | {"trade_count": "Int64"}


_ROWS = st.lists(
    st.tuples(
        st.integers(-3_000_000, 3_000_000).map(lambda t: t // 200_000 * 200_000),
        st.integers(0, 40),
        st.integers(1, 9),
        st.integers(1, 10**12),
    ),
    max_size=40,
    unique_by=lambda row: row[:2],
)


@given(_ROWS, st.randoms(use_true_random=False))
def test_any_order_gives_the_candles_of_the_definition(rows: list[Row], rng: random.Random) -> None:
    late = rows + rng.sample(rows, len(rows) // 3)
    rng.shuffle(late)

    assert as_rows(columns(late)) == plain(rows)


def test_a_volume_beyond_64_bits_is_an_error_and_no_wrap_around() -> None:
    with pytest.raises(ScaleError, match="volume"):
        aggregate_trades(columns([(0, 1, 1, 2**62), (0, 2, 1, 2**62)]))


@pytest.mark.parametrize(("other", "field"), [((0, 1, 2, 1), "prices"), ((0, 1, 1, 2), "sizes")])
def test_two_trades_of_one_time_and_id_that_differ_are_refused(other: Row, field: str) -> None:
    for rows in ([(0, 1, 1, 1), other], [other, (0, 1, 1, 1)]):
        with pytest.raises(InvalidInputError, match=rf"{field}=.* with id 1 differ"):
            aggregate_trades(columns(rows))


def test_columns_of_different_length_are_refused() -> None:
    good = columns([(0, 1, 1, 1)])
    with pytest.raises(InvalidInputError, match="prices"):
        TradeColumns(good.timestamps, good.trade_ids, good.prices[:0], good.sizes, good.sides)


def test_real_trades_in_any_order_make_the_exchanges_minutes(replayed: StreamReplay) -> None:
    trades = replayed.trades()
    order = np.random.default_rng(1).permutation(len(trades))
    names = ("timestamps", "trade_ids", "prices", "sizes", "sides")
    shuffled = TradeColumns(*(getattr(trades, name)[order] for name in names))

    candles, again = aggregate_trades(trades), aggregate_trades(shuffled)

    assert len(candles) == 645
    for name in ("timestamps", "open", "high", "low", "close", "volume", "trade_count"):
        assert np.array_equal(getattr(candles, name), getattr(again, name))


def test_values_are_the_nearest_doubles(replayed: StreamReplay) -> None:
    candles = aggregate_trades(replayed.trades())
    frame = candle_frame(candles, price_step=E8, size_step=E8)

    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "UTC"
    assert frame["volume"].tolist() == [float(Decimal(v) / E8) for v in candles.volume.tolist()]
    assert frame["close"].iloc[-1] == 61602.02
