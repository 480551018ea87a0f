"""Validation by columns, beside a loop over rows, and beside a validator call for each record.

    python -m benchmarks.validation [--rows N] [--runs K] [--quick]

Expected on 2 cores, after trials of the parts: a million candles in 0.15 s, the loop over rows 30 times slower; half a
millisecond for a record by itself, most of it for building frames of one row.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, candles
from datalayer.domain.instrument import Instrument
from datalayer.domain.validation import DataValidator

if TYPE_CHECKING:
    from collections.abc import Callable

VALIDATOR = DataValidator(Instrument(1, SYMBOL, 2, 6))
NOW = datetime(2100, 1, 1, tzinfo=UTC)
SINGLE_ROWS = 1_000
PRICES = ("open", "high", "low", "close")


def many_candles(rows: int) -> pd.DataFrame:
    """Real candles, and the same again in later years until there are enough."""
    year = candles(min(rows, 527_040))
    step = year.index[-1] - year.index[0] + pd.Timedelta(minutes=1)
    copies = [year.set_axis(year.index + step * number) for number in range(-(-rows // len(year)))]
    return pd.concat(copies).iloc[:rows]


def accepted_by_columns(frame: pd.DataFrame) -> int:
    return len(VALIDATOR.validate_candles(frame, "1m", now=NOW).accepted)


def accepted_one_by_one(frame: pd.DataFrame) -> int:
    records = frame.reset_index().to_dict("records")
    return sum(len(VALIDATOR.validate_candle(record, "1m", now=NOW).accepted) for record in records)


def accepted_by_loop(frame: pd.DataFrame) -> int:
    """The rules as one would write them for one row: the same ones, the exactness of each decimal included."""
    accepted: dict[datetime, Any] = {}
    for row in frame.itertuples():
        ts = row.Index
        values = [getattr(row, name) for name in (*PRICES, "volume")]
        if ts.tzinfo is None or ts > NOW or ts.value % 60_000_000_000:
            continue
        exact = [Decimal(repr(value)) for value in values]
        scales = (2, 2, 2, 2, 6)
        if not all(e.is_finite() and e == round(e, s) for e, s in zip(exact, scales, strict=True)):
            continue
        opened, high, low, close, volume = values
        if min(opened, high, low, close) <= 0 or volume < 0 or high < low:
            continue
        if low <= opened <= high and low <= close <= high:
            accepted[ts] = row
    return len(accepted)


def timed(check: Callable[[pd.DataFrame], int], frame: pd.DataFrame) -> Callable[[], Any]:
    async def way() -> float:
        with Stopwatch() as watch:
            accepted = check(frame)
        assert accepted == len(frame)
        return watch.seconds

    return way


async def main() -> None:
    chosen = arguments("validation of candles")
    frame = many_candles(chosen.rows)
    ways = {"loop over rows": timed(accepted_by_loop, frame), "ours": timed(accepted_by_columns, frame)}
    shuffled = frame.sample(frac=1, random_state=1)
    ways["ours, rows in disorder"] = timed(accepted_by_columns, shuffled)
    whole = Comparison(f"{len(frame):,} candles", len(frame), "ours", ways)
    await whole.run(chosen.runs)
    print(whole.table())
    few = frame.iloc[:SINGLE_ROWS]
    single = Comparison(
        f"{len(few):,} candles",
        len(few),
        "ours",
        {
            "ours, a call for each record": timed(accepted_one_by_one, few),
            "ours": timed(accepted_by_columns, few),
        },
    )
    await single.run(chosen.runs)
    print(single.table())


if __name__ == "__main__":
    asyncio.run(main())
