"""The demo's picture: candles and volume beside the depth of the order book. Needs the extra `plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.charts.candles import draw_candles
from datalayer.charts.order_book import draw_depth
from datalayer.charts.picture import save_picture
from datalayer.domain.order_book_frame import OrderBookDataFrame

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.timeframe import Timeframe


def save_png_chart(path: Path, candles: pd.DataFrame, timeframe: Timeframe, books: OrderBookColumns) -> None:
    """Write the picture, 1500 by 750 pixels.

    Args:
        path: file to write; its folder exists.
        candles: as `query_ohlcv_data` returns them, at least one; `attrs["symbol"]` is in the title.
        timeframe: length of the candles.
        books: the last snapshot is shown.
    """
    symbol = candles.attrs["symbol"]
    book = OrderBookDataFrame.from_book(books.book(-1, symbol))

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, 2, width_ratios=(2.2, 1), height_ratios=(3.6, 1))
        price = figure.add_subplot(grid[0, 0])
        volume = figure.add_subplot(grid[1, 0], sharex=price)
        draw_candles(price, volume, symbol, timeframe, candles)
        draw_depth(figure.add_subplot(grid[:, 1]), book)

    save_picture(path, draw)
