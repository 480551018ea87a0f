"""The demo's picture: candles and volume beside the depth of the order book. Needs the extra `plot`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import dates as mdates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.timeframe import Timeframe

UP: Final = "#2ebd85"
DOWN: Final = "#f6465d"

_EPOCH: Final = pd.Timestamp(0, tz="UTC")  # matplotlib counts days from it
_BODY_WIDTH: Final = 0.7
_STYLE: Final[Any] = {
    "figure.facecolor": "#12161c",
    "axes.facecolor": "#12161c",
    "axes.edgecolor": "#39424e",
    "axes.labelcolor": "#9aa5b1",
    "axes.titlecolor": "#e6e9ed",
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#252c35",
    "grid.linewidth": 0.7,
    "xtick.color": "#9aa5b1",
    "ytick.color": "#9aa5b1",
    "text.color": "#e6e9ed",
    "font.size": 10,
}


def save_png_chart(path: Path, candles: pd.DataFrame, timeframe: Timeframe, books: OrderBookColumns) -> None:
    """Write the picture, 1500 by 750 pixels.

    Args:
        path: file to write; its folder exists.
        candles: as `query_ohlcv_data` returns them, at least one; `attrs["symbol"]` is in the title.
        timeframe: length of the candles.
        books: the last snapshot is shown.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(15, 7.5), dpi=100)
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.1)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(2.2, 1), height_ratios=(3.6, 1))
        price = figure.add_subplot(grid[0, 0])
        volume = figure.add_subplot(grid[1, 0], sharex=price)
        _draw_candles(price, volume, candles, timeframe)
        _draw_depth(figure.add_subplot(grid[:, 1]), books)
        figure.savefig(path)


def _draw_candles(price: Axes, volume: Axes, candles: pd.DataFrame, timeframe: Timeframe) -> None:
    opens, closes = candles["open"].to_numpy(), candles["close"].to_numpy()
    colours = np.where(closes >= opens, UP, DOWN)
    length_days = timeframe.length / timedelta(days=1)
    # A candle covers the time after its open time, so its middle is where it belongs.
    opened_at = pd.DatetimeIndex(candles.index)
    middles = (opened_at - _EPOCH) / timedelta(days=1) + length_days / 2
    width = length_days * _BODY_WIDTH
    smallest = (candles["high"].max() - candles["low"].min()) / 1_000
    price.vlines(middles, candles["low"], candles["high"], colors=colours.tolist(), linewidth=1)
    bodies = np.maximum(np.abs(closes - opens), smallest)
    price.bar(middles, bodies, width, bottom=np.minimum(opens, closes), color=colours)
    volume.bar(middles, candles["volume"], width, color=colours, alpha=0.75)
    _mark_last(price, float(closes[-1]), str(colours[-1]))
    first, last = candles.index[0], candles.index[-1] + timeframe.length
    price.set_title(
        f"{candles.attrs['symbol']}   {timeframe.label} candles   {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    )
    price.yaxis.set_major_formatter("{x:,.0f}")
    price.tick_params(labelbottom=False)
    price.set_xlim(middles[0] - length_days, middles[-1] + length_days)
    volume.set_ylabel("volume (BTC)")
    volume.yaxis.set_major_formatter("{x:,.0f}")
    locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call] # as it is shipped
    volume.xaxis.set_major_locator(locator)
    volume.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call] # same


def _mark_last(price: Axes, close: float, colour: str) -> None:
    price.axhline(close, color=colour, linewidth=0.8, linestyle=(0, (4, 4)))
    price.annotate(
        f"{close:,.2f}",
        (1, close),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        color=colour,
        fontweight="bold",
    )


def _draw_depth(axes: Axes, books: OrderBookColumns) -> None:
    best_bid, best_ask = books.bid_prices[-1, 0], books.ask_prices[-1, 0]
    for side, colour in (("bid", UP), ("ask", DOWN)):
        prices, sizes = getattr(books, f"{side}_prices")[-1], getattr(books, f"{side}_sizes")[-1]
        known = ~np.isnan(prices)
        cumulative = np.cumsum(sizes[known])
        # The step starts at zero on the best price, so that the gap between the sides is the spread.
        xs, ys = np.append(prices[known][0], prices[known]), np.append(0, cumulative)
        axes.fill_between(xs, ys, step="post", color=colour, alpha=0.25, linewidth=0)
        axes.step(
            xs, ys, where="post", color=colour, linewidth=1.6, label=f"{side}s {cumulative[-1]:,.3f} BTC"
        )
    moment = books.timestamps[-1].astype("datetime64[s]").item()
    axes.set_title(f"Order book   {moment:%Y-%m-%d %H:%M:%S} UTC")
    axes.set_ylabel("cumulative size (BTC)")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.xaxis.set_major_formatter("{x:,.1f}")
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(
        f"best bid {best_bid:,.2f}   best ask {best_ask:,.2f}\nspread {best_ask - best_bid:,.2f} USDT"
    )
    axes.legend(loc="upper center", frameon=False)
