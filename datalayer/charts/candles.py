"""Candles with their volume."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.charts.picture import DOWN, UP, days, plain_numbers, save_picture, show_times

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from datalayer.domain.timeframe import Timeframe

_BODY_WIDTH: Final = 0.7


def save_candles(path: Path, symbol: str, timeframe: Timeframe, candles: pd.DataFrame) -> None:
    """Write a picture of candles.

    Args:
        path: file to write; its folder exists.
        symbol: canonical.
        timeframe: length of the candles.
        candles: at least one; index of open times, columns open, high, low, close, volume.
    """

    def draw(figure: Figure) -> None:
        price, volume = figure.subplots(2, 1, sharex=True, height_ratios=(3.6, 1))
        draw_candles(price, volume, symbol, timeframe, candles)

    save_picture(path, draw)


def draw_candles(
    price: Axes,
    volume: Axes,
    symbol: str,
    timeframe: Timeframe,
    candles: pd.DataFrame,
    *,
    alpha: float = 1.0,
    is_known: bool = True,
) -> None:
    """Draw candles above and their volume below; the axes share their times. The last close is marked if it `is_known`."""
    length_days = timeframe.length / timedelta(days=1)
    # A candle covers the time after its open time, so its middle is where it belongs.
    middles = days(candles.index) + length_days / 2
    colours = np.where(candles["close"] >= candles["open"], UP, DOWN)
    bars: dict[str, Any] = {"width": length_days * _BODY_WIDTH, "color": colours}
    price.vlines(middles, candles["low"], candles["high"], colors=colours.tolist(), linewidth=1, alpha=alpha)
    price.bar(middles, _heights(candles), bottom=candles[["open", "close"]].min(axis=1), alpha=alpha, **bars)
    volume.bar(middles, candles["volume"], alpha=0.75 * alpha, **bars)
    if is_known:
        _mark_last(price, float(candles["close"].iloc[-1]), str(colours[-1]))
    first, last = candles.index[0], candles.index[-1] + timeframe.length
    price.set_title(
        f"{symbol}   {timeframe.label} candles   {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    )
    price.yaxis.set_major_formatter(plain_numbers())
    price.tick_params(labelbottom=False)
    price.set_xlim(middles[0] - length_days, middles[-1] + length_days)
    volume.set_ylabel(f"volume ({symbol.partition('/')[0]})")
    volume.yaxis.set_major_formatter(plain_numbers())
    show_times(volume)


def _heights(candles: pd.DataFrame) -> pd.Series[float]:
    """Return how tall the bodies are: enough to be seen where open and close are equal."""
    smallest = (candles["high"].max() - candles["low"].min()) / 1_000
    return (candles["close"] - candles["open"]).abs().clip(lower=smallest)


def _mark_last(price: Axes, close: float, colour: str) -> None:
    price.axhline(close, color=colour, linewidth=0.8, linestyle=(0, (4, 4)))
    price.annotate(
        f"{close:,.10g}",
        (1, close),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        color=colour,
        fontweight="bold",
    )
