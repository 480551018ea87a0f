"""Candles from the daily files of Binance's public archive: no header, twelve columns, a line for each candle.

Times are milliseconds since 1970 in the files of spot markets up to 2024-12-31, and microseconds from 2025-01-01 on. The
two cannot be confused: a number of one is a thousand times that of the other.
Format: https://github.com/binance/binance-public-data
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.integrations.fields import INT64_MAX, TIME_MS_LIMIT, fault, to_e8

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS: Final = 12
_VALUES: Final = ("open", "high", "low", "close", "volume")
_TRADE_COUNT: Final = 8
_US_PER_MS: Final = 1_000
# Binance's times are of this century; a number beyond is neither milliseconds nor microseconds.
_TIME_US_LIMIT: Final = TIME_MS_LIMIT * _US_PER_MS


def parse_daily_klines(text: str | bytes) -> pd.DataFrame:
    """Return the candles of one file in the order of its lines, as `DataValidator.validate_candles` takes them.

    Args:
        text: the unpacked file. Empty lines are passed over.

    Returns:
        Index `timestamp` of open times (datetime64[us, UTC]); open, high, low, close, volume float64, the doubles nearest
        to the decimals of the file; trade_count int64. Nothing is checked but the format.

    Raises:
        InvalidInputError: names line and column of what is malformed; nothing of the file is returned.
    """
    # What is no ASCII stays visible, and no cell is right that has it.
    lines = (text.decode("ascii", "backslashreplace") if isinstance(text, bytes) else text).splitlines()
    rows = [_row(line.split(","), number) for number, line in enumerate(lines, start=1) if line]
    times = np.array([row[0] for row in rows], dtype=np.int64).astype("datetime64[us]")
    values = np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, len(_VALUES))
    frame = pd.DataFrame(
        dict(zip(_VALUES, values.T, strict=True)),
        index=pd.DatetimeIndex(times, name="timestamp").tz_localize("UTC"),
    )
    return frame.assign(trade_count=np.array([row[2] for row in rows], dtype=np.int64))


def _row(cells: Sequence[str], line: int) -> tuple[int, list[float], int]:
    place = f"line {line}"
    if len(cells) != _COLUMNS:
        raise fault(place, ",".join(cells), f"a line has {_COLUMNS} columns, this one {len(cells)}")
    for name, cell in zip(_VALUES, cells[1:], strict=False):
        to_e8(cell, f"{place} {name}")
    return (
        _time_us(cells[0], f"{place} open_time"),
        [float(cell) for cell in cells[1 : len(_VALUES) + 1]],
        _integer(cells[_TRADE_COUNT], f"{place} trade_count", INT64_MAX),
    )


def _time_us(cell: str, field: str) -> int:
    time = _integer(cell, field, _TIME_US_LIMIT - 1)
    return time if time >= TIME_MS_LIMIT else time * _US_PER_MS


def _integer(cell: str, field: str, largest: int) -> int:
    digits = cell.isascii() and cell.isdigit() and len(cell) <= len(str(INT64_MAX))
    if not digits or int(cell) > largest:
        raise fault(field, cell, f"must be a whole number from 0 to {largest}")
    return int(cell)
