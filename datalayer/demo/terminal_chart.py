"""The demo's picture in the terminal: candles above, the order book as a ladder below.

Drawn with text, so that it looks the same in every terminal, in a file and in a log; colours are rich's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from datalayer.domain.order_book import OrderBookColumns

MIN_WIDTH: Final = 56

_UP: Final = "green"
_DOWN: Final = "red"
_FAINT: Final = "bright_black"
_ROWS: Final = 16
_LEVELS: Final = 8
# What a half cell holds (upper, lower): 0 nothing, 1 wick, 2 body. The parts have the same stroke on one vertical line.
_GLYPHS: Final = {
    (0, 0): " ",
    (1, 1): "│",
    (2, 2): "┃",
    (1, 0): "╵",
    (0, 1): "╷",
    (2, 0): "╹",
    (0, 2): "╻",
    (1, 2): "╽",
    (2, 1): "╿",
}
_LADDER_MIDDLE: Final = len(" 0000.00000  00,000.00 │ 00,000.00  0000.00000 ")
_FULL_BAR: Final = "█"


@dataclass(frozen=True, slots=True)
class _Axis:
    """Prices to half rows, counted from the top."""

    top: float
    bottom: float

    def half_row(self, price: float) -> int:
        share = (self.top - price) / ((self.top - self.bottom) or 1.0)
        return min(int(share * 2 * _ROWS), 2 * _ROWS - 1)


def candle_chart(candles: pd.DataFrame, width: int) -> Text:
    """Return the last candles that fit, one column each, with a price axis on the right and times below.

    Args:
        candles: as `query_ohlcv_data` returns them, at least one.
        width: columns of the whole picture, at least `MIN_WIDTH`.
    """
    label_width = len(f" ◂{candles['high'].max():,.2f}")
    shown = candles.iloc[-(width - label_width) :]
    axis = _Axis(float(shown["high"].max()), float(shown["low"].min()))
    columns = [_candle_column(axis, *row) for row in shown[["open", "high", "low", "close"]].to_numpy()]
    last_row = axis.half_row(float(shown["close"].iloc[-1])) // 2
    text = Text(no_wrap=True)
    for row in range(_ROWS):
        for glyphs, style in columns:
            text.append(glyphs[row], style)
        text.append_text(_price_label(axis, row, last_row, float(shown["close"].iloc[-1])))
        text.append("\n")
    return text.append(_time_labels(shown), _FAINT)


def _candle_column(
    axis: _Axis, opened: float, high: float, low: float, close: float
) -> tuple[list[str], str]:
    halves = np.zeros(2 * _ROWS, dtype=int)
    halves[axis.half_row(high) : axis.half_row(low) + 1] = 1
    halves[axis.half_row(max(opened, close)) : axis.half_row(min(opened, close)) + 1] = 2
    glyphs = [_GLYPHS[int(upper), int(lower)] for upper, lower in halves.reshape(-1, 2)]
    return glyphs, _UP if close >= opened else _DOWN


def _price_label(axis: _Axis, row: int, last_row: int, close: float) -> Text:
    if row == last_row:
        return Text(f" ◂{close:,.2f}", style="bold")
    if row % 5 or abs(row - last_row) < 2:  # noqa: PLR2004 - a label needs a free row beside the last price
        return Text()
    price = axis.top - (row + 0.5) / _ROWS * (axis.top - axis.bottom)
    return Text(f"  {price:,.0f}", style=_FAINT)


def _time_labels(shown: pd.DataFrame) -> str:
    line = ""
    for position, moment in enumerate(shown.index):
        label = f"{moment:%d %b}" if moment.hour == 0 else f"{moment:%H:%M}"
        if moment.minute == 0 and moment.hour % 4 == 0 and position >= len(line):
            line = line.ljust(position) + label + "  "
    return line.rstrip()


def depth_ladder(books: OrderBookColumns, width: int) -> Text:
    """Return the best levels of the last snapshot: price, size and a bar of the size summed up to that level.

    Args:
        books: at least one snapshot with both sides.
        width: columns of the whole picture, at least `MIN_WIDTH`.
    """
    bids = _levels(books.bid_prices[-1], books.bid_sizes[-1])
    asks = _levels(books.ask_prices[-1], books.ask_sizes[-1])
    deepest = max(bids[-1][2], asks[-1][2])
    bar_width = (width - _LADDER_MIDDLE) // 2
    text = Text(no_wrap=True)
    for bid, ask in zip(bids, asks, strict=False):
        text.append(_bar(bid[2] / deepest, bar_width).rjust(bar_width), _UP)
        text.append(f" {bid[1]:>10,.5f} {bid[0]:>10,.2f}", _UP)
        text.append(" │ ", _FAINT)
        text.append(f"{ask[0]:<10,.2f} {ask[1]:<10,.5f} ", _DOWN)
        text.append(_bar(ask[2] / deepest, bar_width) + "\n", _DOWN)
    text.rstrip()
    return text


def _levels(prices: np.ndarray, sizes: np.ndarray) -> list[tuple[float, float, float]]:
    count = min(_LEVELS, int(np.count_nonzero(~np.isnan(prices))))
    sums = np.cumsum(sizes[:count])
    return list(zip(prices[:count].tolist(), sizes[:count].tolist(), sums.tolist(), strict=True))


def _bar(share: float, width: int) -> str:
    return _FULL_BAR * max(1, round(share * width))
