"""Charts as SVG text: a few lines each, no script, coloured by the classes of the page's style."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    import pandas as pd

    from datalayer.domain.coverage import CoverageReport

WIDTH: Final = 480
HEIGHT: Final = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 8, 8, 22
_PLOT_WIDTH: Final = WIDTH - _LEFT - _RIGHT
_ROW: Final = 24


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a value is drawn."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.begin + share * (self.end - self.begin), 1)


def candle_chart(frame: pd.DataFrame, length: timedelta) -> str:
    """Return candles side by side, those that rose hollow; a dashed line stands where candles are absent between two.

    Args:
        frame: as from `CandleRepository.query_ohlcv_data`; not empty.
        length: of its candles.
    """
    y = _Scale(float(frame["low"].min()), float(frame["high"].max()), HEIGHT - _BOTTOM, _TOP)
    step = _PLOT_WIDTH / len(frame)
    parts = []
    rows = zip(*(frame[name].tolist() for name in ("open", "high", "low", "close")), strict=True)
    for n, (opened, high, low, close) in enumerate(rows):
        x, top, bottom = _LEFT + (n + 0.5) * step, y(max(opened, close)), y(min(opened, close))
        side = "up" if close >= opened else "down"
        parts.append(
            f'<g class="{side}"><line x1="{x:.1f}" x2="{x:.1f}" y1="{y(high)}" y2="{y(low)}"/>'
            f'<rect x="{x - 0.35 * step:.1f}" width="{0.7 * step:.1f}" y="{top}" height="{max(bottom - top, 0.6):.1f}"/></g>'
        )
    times = frame.index.tolist()
    for n, (before, after) in enumerate(pairwise(times), 1):
        if after - before > length:
            x = _LEFT + n * step
            parts.append(
                f'<line class="absent" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            )
    marks = [(value, f"{value:,.10g}") for value in (y.low, (y.low + y.high) / 2, y.high)]
    return _frame(parts, _grid(y, marks) + _times(frame.index[0], frame.index[-1]), "candles")


def line_chart(
    lines: Mapping[str, Sequence[tuple[datetime, float]]], unit: Mapping[float, str] | None = None
) -> str:
    """Return lines over time from zero up, with a legend.

    Args:
        lines: by name, ascending; one has a point at least.
        unit: texts of the values at the left; None: the numbers.
    """
    points = [point for line in lines.values() for point in line]
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    x = _Scale(first.timestamp(), last.timestamp(), _LEFT, WIDTH - _RIGHT)
    y = _Scale(0.0, highest(lines), HEIGHT - _BOTTOM, _TOP + 14)
    parts = []
    for n, (name, line) in enumerate(lines.items()):
        path = " ".join(f"{x(at.timestamp())},{y(value)}" for at, value in line)
        parts.append(f'<polyline class="line l{n % 4}" points="{path}"/>')
        parts.append(
            f'<text class="l{n % 4} name" x="{_LEFT + n * 105}" y="{_TOP + 4}">{escape(name)}</text>'
        )
    marks = [(value, (unit or {}).get(value, f"{value:,.3g}")) for value in (0.0, y.high / 2, y.high)]
    return _frame(parts, _grid(y, marks) + _times(first, last), "lines")


def highest(lines: Mapping[str, Sequence[tuple[datetime, float]]]) -> float:
    """Return the value at the top of a line chart."""
    return max((value for line in lines.values() for _, value in line), default=0.0) or 1e-9


def coverage_map(reports: Iterable[CoverageReport], start: datetime, end: datetime) -> str:
    """Return a row for each timeframe: what was traded, what silent, and what is missing."""
    x = _Scale(start.timestamp(), end.timestamp(), _LEFT, WIDTH - _RIGHT)
    parts, row = [], 0
    for row, report in enumerate(reports, 1):
        y = _TOP + (row - 1) * _ROW
        parts.append(f'<text class="mark" x="{_LEFT - 6}" y="{y + 13}">{report.timeframe.label}</text>')
        parts.append(f'<rect class="none" x="{_LEFT}" width="{_PLOT_WIDTH}" y="{y}" height="18"/>')
        for begin, stop, state in report.intervals[["start", "end", "state"]].itertuples(index=False):
            left, right = x(begin.timestamp()), x(stop.timestamp())
            title = f"{state}: {begin:%Y-%m-%d %H:%M:%S} to {stop:%Y-%m-%d %H:%M:%S}"
            # A hole of a second in a day must be seen all the same.
            width = max(right - left, 1.5 if state == "missing" else 0.2)
            parts.append(
                f'<rect class="{state}" x="{left}" width="{width:.1f}" y="{y}" height="18"><title>{title}</title></rect>'
            )
    # Holes are drawn last, so that nothing covers them.
    parts.sort(key=lambda part: 'class="missing"' in part)
    return _frame(parts, _times(start, end, _TOP + row * _ROW + 14), "coverage", _TOP + row * _ROW + 22)


def _grid(y: _Scale, marks: Iterable[tuple[float, str]]) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}"/>'
        f'<text class="mark" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{escape(text)}</text>'
        for value, text in marks
    )


def _times(first: datetime, last: datetime, y: float = HEIGHT - 6) -> str:
    form = "%H:%M:%S" if (last - first).total_seconds() < 86_400 else "%Y-%m-%d"  # noqa: PLR2004 (a day)
    if first.date() != last.date() and form == "%H:%M:%S":
        form = "%m-%d %H:%M"
    return (
        f'<text class="time" x="{_LEFT}" y="{y}">{first:{form}}</text>'
        f'<text class="mark" x="{WIDTH - _RIGHT}" y="{y}">{last:{form}} UTC</text>'
    )


def _frame(parts: Iterable[str], axes: str, name: str, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">{axes}{"".join(parts)}</svg>'
