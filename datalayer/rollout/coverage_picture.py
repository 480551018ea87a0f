"""A picture of what is stored: a strip for each series, in which gaps can be seen. SVG, drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.timeframe import Timeframe

CELLS: Final = 400

# In integers: a float at the edge of two cells would make a gap of none.
_COUNT: Final = text("""
    SELECT (CAST(extract(epoch FROM c.ts) AS bigint) - :first) / :seconds * :cells / :possible AS cell, count(*)
    FROM candles AS c JOIN instruments AS i ON i.id = c.instrument_id
    WHERE i.symbol = :symbol AND c.timeframe = :seconds AND c.ts >= :start AND c.ts < :stop GROUP BY cell
""")
_LEFT: Final = 150
_RIGHT: Final = 70
_WIDTH: Final = 1_000
_STRIP: Final = 22
_ROW: Final = 46
_FULL: Final = "#2f8f5b"
_PART: Final = "#e0a030"
_NONE: Final = "#c8354a"


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """How much of a series is stored, from its first to its last candle.

    Attributes:
        label: what is written beside it.
        start: first moment, UTC.
        end: end, exclusive.
        shares: of equal parts of that range, how much of what there could be is stored, float64 `[cells]`, 0 to 1.
        stored: candles that are stored.
        possible: candles that there could be.
    """

    label: str
    start: datetime
    end: datetime
    shares: NDArray[np.float64]
    stored: int
    possible: int


async def coverage_strip(
    conn: AsyncConnection, symbol: str, timeframe: Timeframe, first: datetime, last: datetime
) -> Strip:
    """Return how much of a series is stored.

    Args:
        conn: on the database.
        symbol: canonical.
        timeframe: of the candles.
        first: open time of the first candle, UTC.
        last: of the last.
    """
    possible = int((last - first) / timeframe.length) + 1
    end = first + possible * timeframe.length
    cells = min(CELLS, possible)
    edges = (np.arange(cells + 1) * possible + cells - 1) // cells  # the first candle of each cell
    values = {
        "symbol": symbol,
        "seconds": timeframe.value,
        "cells": cells,
        "start": first,
        "stop": end,
        "first": int(first.timestamp()),
        "possible": possible,
    }
    with driver_errors_translated():
        counts = {int(cell): int(count) for cell, count in await conn.execute(_COUNT, values)}
    found = np.array([counts.get(cell, 0) for cell in range(cells)])
    label = f"{symbol} {timeframe.label}"
    return Strip(label, first, end, found / np.diff(edges), int(found.sum()), possible)


def coverage_svg(strips: Sequence[Strip]) -> str:
    """Return the picture as an SVG element; green is whole, amber has gaps, red is empty. Gaps are never too narrow to see."""
    height = _ROW * len(strips) + 40
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" width="100%" '
        'font-family="sans-serif" font-size="13" role="img" aria-label="coverage by series">'
    )
    parts = [head]
    for place, strip in enumerate(strips):
        parts += _strip(strip, _ROW * place + 6)
    parts += _legend(_ROW * len(strips) + 12)
    return "\n".join([*parts, "</svg>"])


def _strip(strip: Strip, top: int) -> list[str]:
    cell = _WIDTH / len(strip.shares)
    drawn = [f'<text x="{_LEFT - 10}" y="{top + 15}" text-anchor="end" fill="#222">{strip.label}</text>']
    begins = np.flatnonzero(np.append(True, np.diff(_colours(strip.shares)) != 0))
    for begin, end in zip(begins, [*begins[1:], len(strip.shares)], strict=True):
        colour = (_NONE, _PART, _FULL)[_colours(strip.shares)[begin]]
        x, width = _LEFT + begin * cell, (end - begin) * cell
        drawn.append(f'<rect x="{x:.2f}" y="{top}" width="{width:.2f}" height="{_STRIP}" fill="{colour}"/>')
    share = 100 * strip.stored / strip.possible
    shown = f"{share:.1f}" if strip.stored == strip.possible else f"{min(share, 99.99):.2f}"
    below = top + _STRIP + 13
    return [
        *drawn,
        f'<text x="{_LEFT + _WIDTH + 8}" y="{top + 15}" fill="#222">{shown} %</text>',
        f'<text x="{_LEFT}" y="{below}" fill="#666" font-size="11">{strip.start:%Y-%m-%d %H:%M}</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{below}" fill="#666" font-size="11" text-anchor="end">{strip.end:%Y-%m-%d %H:%M}</text>',
    ]


def _colours(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(shares <= 0, 0, np.where(shares < 1, 1, 2))


def _legend(top: int) -> list[str]:
    drawn = []
    for place, (colour, label) in enumerate(
        ((_FULL, "whole"), (_PART, "candles missing"), (_NONE, "nothing"))
    ):
        x = _LEFT + 150 * place
        drawn.append(f'<rect x="{x}" y="{top}" width="14" height="14" fill="{colour}"/>')
        drawn.append(f'<text x="{x + 20}" y="{top + 12}" fill="#444">{label}</text>')
    return drawn
