"""Trades: price over time, coloured by who wanted them, as large as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.charts.picture import DOWN, FAINT, UP, days, plain_numbers, save_picture, show_times

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

_SIDES: Final = ((1, UP, "bought"), (-1, DOWN, "sold"), (0, FAINT, "side unknown"))
_LARGEST_DOT: Final = 400.0
_SMALLEST_DOT: Final = 6.0


def save_trades(path: Path, symbol: str, trades: pd.DataFrame) -> None:
    """Write a picture of trades.

    Args:
        path: file to write; its folder exists.
        symbol: canonical.
        trades: at least one; index of times, columns price, size, side.
    """
    base = symbol.partition("/")[0]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        times, largest = days(trades.index), trades["size"].max()
        for side, colour, word in _SIDES:
            chosen = (trades["side"] == side).to_numpy()
            if not chosen.any():
                continue
            sizes = trades["size"].to_numpy()[chosen]
            dots = np.maximum(sizes / largest * _LARGEST_DOT, _SMALLEST_DOT)
            label = f"{word} {sizes.sum():,.3f} {base}"
            prices = trades["price"].to_numpy()[chosen]
            axes.scatter(times[chosen], prices, s=dots, color=colour, alpha=0.5, linewidth=0, label=label)
        first, last = trades.index[0], trades.index[-1]
        axes.set_title(
            f"{symbol}   {len(trades):,} trades   {first:%Y-%m-%d %H:%M:%S} to {last:%H:%M:%S} UTC"
        )
        axes.yaxis.set_major_formatter(plain_numbers())
        for handle in axes.legend(loc="best", frameon=False).legend_handles:
            handle.set_sizes([40])  # type: ignore[union-attr] # of a scatter
        show_times(axes)

    save_picture(path, draw)
