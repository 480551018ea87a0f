"""What is known of one moment, and beside it what came afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from datalayer.charts.candles import draw_candles
from datalayer.charts.order_book import draw_depth
from datalayer.charts.picture import FAINT, days, save_picture

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from datalayer.domain.inference_frame import InferenceDataFrame
    from datalayer.domain.timeframe import Timeframe

_AFTER: Final = 0.35  # how much of its colour what was not known has


def save_inference(path: Path, frame: InferenceDataFrame, timeframe: Timeframe) -> None:
    """Write a picture of a moment: candles up to it, paler those after it, and the order book.

    Args:
        path: file to write; its folder exists.
        frame: has candles of `timeframe`, at least one.
        timeframe: which candles are drawn.
    """
    known, after = frame.candles[timeframe], frame.context_after.get(timeframe)

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, 2, width_ratios=(2.2, 1), height_ratios=(3.6, 1))
        price = figure.add_subplot(grid[0, 0])
        volume = figure.add_subplot(grid[1, 0], sharex=price)
        draw_candles(price, volume, frame.symbol, timeframe, known)
        right = price.get_xlim()
        if after is not None and len(after):
            draw_candles(price, volume, frame.symbol, timeframe, after, alpha=_AFTER, is_known=False)
            price.set_xlim(right[0], price.get_xlim()[1])
        (moment,) = days(pd.DatetimeIndex([frame.as_of]))
        for axes in (price, volume):
            axes.axvline(moment, color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
        price.set_title(
            f"{frame.symbol}   {timeframe.label} candles   known at {frame.as_of:%Y-%m-%d %H:%M:%S} UTC"
        )
        if frame.order_book is not None:
            draw_depth(figure.add_subplot(grid[:, 1]), frame.order_book)

    save_picture(path, draw)
