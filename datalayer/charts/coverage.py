"""What is stored and what is missing, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.charts.picture import DOWN, FAINT, UP, days, save_picture, show_times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from datalayer.domain.coverage import CoverageReport

# What is drawn later covers what is as short as a line: a missing second of a month must be seen.
_COLOURS: Final = {"silent": FAINT, "traded": UP, "missing": DOWN}


def save_coverage(path: Path, reports: Sequence[CoverageReport]) -> None:
    """Write a picture of coverage, a bar for each timeframe.

    Args:
        path: file to write; its folder exists.
        reports: of one symbol, at least one.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, report in enumerate(reports):
            starts, ends = (days(report.intervals[name].array) for name in ("start", "end"))
            for order, (state, colour) in enumerate(_COLOURS.items(), 2):
                chosen = (report.intervals["state"] == state).to_numpy()
                spans = list(zip(starts[chosen], (ends - starts)[chosen], strict=True))
                # A line of the same colour keeps a second visible in a month.
                axes.broken_barh(
                    spans, (place - 0.35, 0.7), color=colour, edgecolor=colour, linewidth=0.6, zorder=order
                )
        axes.set_yticks(range(len(reports)), [_told(report) for report in reports])
        axes.set_ylim(len(reports) - 0.5, -0.5)
        for state, colour in _COLOURS.items():
            axes.plot([], [], color=colour, linewidth=8, label=state)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
        axes.set_title(f"{reports[0].symbol}   coverage")
        show_times(axes)

    save_picture(path, draw)


def _told(report: CoverageReport) -> str:
    return f"{report.timeframe.label}\n{report.traded + report.silent:,} of {report.expected:,}"
