"""The last N candles before each decision, as views of the rows that have just been read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

GapPolicy: TypeAlias = Literal["restart", "mark", "refuse"]
"""What becomes of windows where candles are missing: there are none that hold a gap; they are there and `has_gap` says
so; an error."""

OHLCV: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, eq=False)
class WindowBlock:
    """Windows that end one after the other. To iterate over it gives pairs of decision time and window.

    Attributes:
        columns: names of the columns.
        decided_at: close of the last candle of each window, datetime64[us] in UTC, `[n]`: from then on it may be used.
        windows: float64 `[n, N, columns]`, oldest candle first; read-only views that share their rows. Copy what you keep:
            a kept view holds the whole block in memory. NaN where a trade count is unknown.
        has_gap: bool `[n]`: candles are missing inside of the window. Always False unless the policy is "mark".
        gap_before: open times, half-open, in UTC, of which there are no candles just before the first row of this block;
            None: it follows on the rows of the block before. A block after a gap may have no windows at all.
    """

    columns: tuple[str, ...]
    decided_at: NDArray[np.datetime64]
    windows: NDArray[np.float64]
    has_gap: NDArray[np.bool_]
    gap_before: tuple[datetime, datetime] | None = None

    def __len__(self) -> int:
        return len(self.decided_at)

    def __iter__(self) -> Iterator[tuple[np.datetime64, NDArray[np.float64]]]:
        return zip(self.decided_at, self.windows, strict=True)


class SlidingWindows:
    """Turns frames of candles into windows of the last N; what a window needs of an earlier frame is kept.

    Args:
        timeframe: length of the candles.
        length: N, the number of candles in a window.
        columns: which of a frame's columns, in this order.
        on_gap: see `GapPolicy`.

    Raises:
        InvalidInputError: `length` is not positive, there is no such policy, or no column.
    """

    def __init__(
        self,
        timeframe: Timeframe | str,
        length: int,
        *,
        columns: Sequence[str] = OHLCV,
        on_gap: GapPolicy = "restart",
    ) -> None:
        if length < 1:
            raise InvalidInputError("length", length, "a window has at least one candle")
        if on_gap not in get_args(GapPolicy):
            raise InvalidInputError("on_gap", on_gap, f"use one of {', '.join(get_args(GapPolicy))}")
        if isinstance(columns, str) or not columns:
            raise InvalidInputError("columns", columns, "give a list of names")
        self.timeframe, self.length = Timeframe.parse(timeframe), length
        self.columns, self.on_gap = tuple(columns), on_gap
        self._step = np.timedelta64(self.timeframe.value, "s")
        self._last: NDArray[np.datetime64] = np.zeros(0, "datetime64[us]")  # one at most
        self._opens = self._last
        self._rows: NDArray[np.float64] = np.zeros((0, len(self.columns)))

    def add(self, frame: pd.DataFrame) -> Iterator[WindowBlock]:
        """Yield the windows that end in a frame, in order; after each gap a block begins.

        Args:
            frame: closed candles as from `query_ohlcv_data`, all later than those added before.

        Raises:
            InvalidInputError: a column is absent, or a candle is not later than the one before it.
            MissingDataError: candles are missing, and the policy is "refuse"; what came before it has been yielded.
        """
        opens, rows = candle_arrays(frame, self.columns)
        known = len(self._last)
        steps = np.diff(np.concatenate([self._last, opens]))
        if (steps <= np.timedelta64(0)).any():
            hint = "each candle must open later than the one before; a new SlidingWindows starts anew"
            raise InvalidInputError("timestamp", f"{opens[np.argmin(steps) + 1 - known]}+00:00", hint)
        jumps = np.flatnonzero(steps != self._step) + 1 - known
        for start, end in zip([0, *jumps], [*jumps, len(opens)], strict=True):
            if start < end:
                gap = self._gap(opens[start], str(frame.attrs.get("symbol", "")))
                yield self._block(opens[start:end], rows[start:end], gap)

    def _gap(self, opened: np.datetime64, symbol: str) -> tuple[datetime, datetime] | None:
        if not len(self._last) or opened - self._last[0] == self._step:
            return None
        gap = _aware(self._last[0] + self._step), _aware(opened)
        if self.on_gap == "refuse":
            raise MissingDataError(symbol, self.timeframe.label, (gap,))
        return gap

    def _block(
        self,
        opens: NDArray[np.datetime64],
        rows: NDArray[np.float64],
        gap: tuple[datetime, datetime] | None,
    ) -> WindowBlock:
        if gap is None or self.on_gap == "mark":
            opens, rows = np.concatenate([self._opens, opens]), np.concatenate([self._rows, rows])
        rows.flags.writeable = False
        kept = max(len(rows) - self.length + 1, 0)
        self._last, self._opens, self._rows = opens[-1:].copy(), opens[kept:].copy(), rows[kept:].copy()
        ends = opens[self.length - 1 :]
        if not len(ends):
            nothing = np.zeros((0, self.length, len(self.columns)))
            return WindowBlock(self.columns, ends, nothing, np.zeros(0, np.bool_), gap)
        windows = sliding_window_view(rows, self.length, axis=0).swapaxes(1, 2)
        has_gap = ends - opens[: len(ends)] != (self.length - 1) * self._step
        return WindowBlock(self.columns, ends + self._step, windows, has_gap, gap)


def candle_arrays(
    frame: pd.DataFrame, columns: Sequence[str]
) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Return the open times of a frame of candles, datetime64[us] in UTC, `[n]`, and some of its columns, `[n, columns]`.

    Raises:
        InvalidInputError: a column is absent.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InvalidInputError("columns", list(map(str, frame.columns)), f"missing: {', '.join(missing)}")
    index = pd.DatetimeIndex(frame.index).tz_convert("UTC").tz_localize(None)
    values = [frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns]
    return index.as_unit("us").to_numpy(), np.column_stack(values)


def _aware(moment: Any) -> datetime:
    found: datetime = moment.item()
    return found.replace(tzinfo=UTC)
