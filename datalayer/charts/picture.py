"""The paper that every picture is drawn on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import pandas as pd
from matplotlib import dates as mdates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from datalayer.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

UP: Final = "#2ebd85"
DOWN: Final = "#f6465d"
FAINT: Final = "#9aa5b1"

_EPOCH: Final = pd.Timestamp(0, tz="UTC")  # matplotlib counts days from it
_STYLE: Final[Any] = {
    "figure.facecolor": "#12161c",
    "axes.facecolor": "#12161c",
    "axes.edgecolor": "#39424e",
    "axes.labelcolor": FAINT,
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
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": "#e6e9ed",
    "font.size": 10,
}


def save_picture(path: Path, draw: Callable[[Figure], None]) -> None:
    """Write a picture as PNG, 1500 by 750 pixels, whatever the file is called; as a whole or not at all.

    Args:
        path: file to write; its folder exists.
        draw: puts axes on the empty figure.

    Raises:
        OSError: the file cannot be written.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(15, 7.5), dpi=100)
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.1)
        FigureCanvasAgg(figure)
        draw(figure)
        with whole_file(path) as file:
            figure.savefig(file, format="png")


def days(times: pd.Index) -> NDArray[np.float64]:
    """Return aware times as matplotlib counts them."""
    counted: NDArray[np.float64] = ((pd.DatetimeIndex(times) - _EPOCH) / timedelta(days=1)).to_numpy()
    return counted


def show_times(axes: Axes) -> None:
    """Write times below the axes."""
    locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call] # as it is shipped
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call] # same


def plain_numbers() -> FuncFormatter:
    """Return a formatter that writes prices and sizes out, with no more digits than they have."""
    return FuncFormatter(lambda value, _: f"{value:,.10g}")
