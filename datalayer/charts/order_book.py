"""The depth of an order book, and how books changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datalayer.charts.picture import DOWN, FAINT, UP, days, plain_numbers, save_picture, show_times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from datalayer.domain.order_book_frame import OrderBookDataFrame


def save_order_books(path: Path, books: Sequence[OrderBookDataFrame]) -> None:
    """Write a picture of books: the depth of the last one, and beside it how the best prices and the imbalance moved.

    Args:
        path: file to write; its folder exists.
        books: at least one, ascending; of one alone only the depth is drawn.
    """

    def draw(figure: Figure) -> None:
        if len(books) == 1:
            axes = figure.add_subplot()
            draw_depth(axes, books[-1])
            axes.set_title(f"{books[-1].symbol}   {axes.get_title(loc='left')}")
            return
        grid = figure.add_gridspec(2, 2, width_ratios=(2.2, 1), height_ratios=(2, 1))
        prices = figure.add_subplot(grid[0, 0])
        _draw_best(prices, figure.add_subplot(grid[1, 0], sharex=prices), books)
        draw_depth(figure.add_subplot(grid[:, 1]), books[-1])

    save_picture(path, draw)


def draw_depth(axes: Axes, book: OrderBookDataFrame) -> None:
    """Draw the cumulative size of both sides over their prices."""
    base, _, quote = book.symbol.partition("/")
    for side, colour in (("bids", UP), ("asks", DOWN)):
        levels = getattr(book, side)
        if levels.empty:
            continue
        # The step starts at zero on the best price, so that the gap between the sides is the spread.
        prices, sizes = levels["price"].to_numpy(), levels["cumulative_size"].to_numpy()
        xs, ys = np.append(prices[0], prices), np.append(0, sizes)
        axes.fill_between(xs, ys, step="post", color=colour, alpha=0.25, linewidth=0)
        label = f"{side} {sizes[-1]:,.3f} {base}"
        axes.step(xs, ys, where="post", color=colour, linewidth=1.6, label=label)
    axes.set_title(f"Order book   {book.timestamp:%Y-%m-%d %H:%M:%S} UTC")
    axes.set_ylabel(f"cumulative size ({base})")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.xaxis.set_major_formatter(plain_numbers())
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(
        f"best bid {book.best_bid:,.10g}   best ask {book.best_ask:,.10g}\nspread {book.spread:,.6g} {quote}"
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", frameon=False)


def _draw_best(prices: Axes, balance: Axes, books: Sequence[OrderBookDataFrame]) -> None:
    times = days(pd.DatetimeIndex([book.timestamp for book in books]))
    for name, colour in (("best_bid", UP), ("best_ask", DOWN)):
        values = [getattr(book, name) for book in books]
        prices.step(times, values, where="post", color=colour, linewidth=1.2, label=name.replace("_", " "))
    first, last = books[0].timestamp, books[-1].timestamp
    prices.set_title(
        f"{books[-1].symbol}   {len(books):,} books   {first:%Y-%m-%d %H:%M:%S} to {last:%H:%M:%S} UTC"
    )
    prices.yaxis.set_major_formatter(plain_numbers())
    prices.tick_params(labelbottom=False)
    prices.legend(loc="best", frameon=False)
    bids, asks = (np.array([getattr(book, f"{side}_volume") for book in books]) for side in ("bid", "ask"))
    shares = np.divide(bids - asks, bids + asks, out=np.full(len(books), np.nan), where=bids + asks > 0)
    balance.axhline(0, color=FAINT, linewidth=0.8)
    balance.fill_between(times, shares, where=shares >= 0, step="post", color=UP, alpha=0.6, linewidth=0)
    balance.fill_between(times, shares, where=shares < 0, step="post", color=DOWN, alpha=0.6, linewidth=0)
    balance.set_ylim(-1, 1)
    balance.set_ylabel("bids less asks,\nshare of the depth")
    show_times(balance)
