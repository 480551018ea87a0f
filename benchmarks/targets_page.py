"""What the targets' page is made of: results kept as JSON, a table between two marks of docs/performance.md, two pictures."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from datalayer.charts.picture import DOWN, FAINT, UP, save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs/performance.md"
LESS_IS_BETTER = {"ms", "bytes"}
SERVERS = ("native", "embedded")
_BLOCK = re.compile(r"(<!-- targets: .*? -->\n).*?(\n<!-- end of targets -->)", re.DOTALL)
_READERS = re.compile(r"query: (\d+) at once, (.*), p95")


@dataclass(frozen=True)
class Result:
    """One target: times and sizes are to stay below their aim, rates and percentages above."""

    what: str
    unit: str
    aim: float
    value: float
    benchmark: str
    beside: str = ""
    beside_value: float = 0.0

    @property
    def used(self) -> float:
        """The part of the aim that is used up: 1 is just met."""
        return self.value / self.aim if self.unit in LESS_IS_BETTER else self.aim / self.value

    def __str__(self) -> str:
        verdict = "met" if self.used <= 1 else "MISSED"
        return f"{self.what}: {shown(self.value, self.unit)} (aim {shown(self.aim, self.unit)}): {verdict}"


@dataclass
class Kept:
    """Results of one kind of server."""

    server: str
    load_before: float = 0.0
    results: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def load(cls, server: str) -> Self:
        path = RESULTS / f"{server}.json"
        if not path.exists():
            return cls(server)
        found: dict[str, Any] = json.loads(path.read_text())
        return cls(server, found["load_before"], {one["what"]: Result(**one) for one in found["results"]})

    def add(self, result: Result) -> None:
        self.results[result.what] = result

    def save(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        found = {
            "load_before": round(self.load_before, 1),
            "results": [asdict(one) for one in self.results.values()],
        }
        (RESULTS / f"{self.server}.json").write_text(json.dumps(found, indent=1) + "\n")


def shown(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004 (three figures that count)
    return f"{value:,.{digits}f}{'/s' if unit == '1/s' else ' %' if unit == '%' else ' ' + unit}"


def write_page() -> None:
    """Put the table into the page, and draw its pictures."""
    native, embedded = (Kept.load(server) for server in SERVERS)
    lines = [
        f"Load before: native {native.load_before}, embedded {embedded.load_before}.\n",
        "| target | aim | native | embedded | beside it, native | more by |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for what, result in (native.results or embedded.results).items():
        cells = [_cell(kept.results.get(what)) for kept in (native, embedded)]
        beside = f"{result.beside}: {shown(result.beside_value, result.unit)}" if result.beside else ""
        aim = f"{'<' if result.unit in LESS_IS_BETTER else '>'} {shown(result.aim, result.unit)}"
        lines.append(f"| {what} | {aim} | {' | '.join(cells)} | {beside} | `benchmarks.{result.benchmark}` |")
    table = "\n".join(lines)
    PAGE.write_text(_BLOCK.sub(lambda found: found[1] + table + found[2], PAGE.read_text()))
    save_picture(ROOT / "docs/images/targets.png", lambda figure: _draw_targets(figure, native, embedded))
    save_picture(ROOT / "docs/images/readers.png", lambda figure: _draw_readers(figure, native))


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    value = shown(result.value, result.unit)
    return value if result.used <= 1 else f"**{value}, missed**"


def _draw_targets(figure: Figure, native: Kept, embedded: Kept) -> None:
    axes = figure.add_subplot()
    names = list(native.results)[::-1]
    for shift, kept, colour in ((0.2, native, UP), (-0.2, embedded, FAINT)):
        known = [(place, kept.results[name].used) for place, name in enumerate(names) if name in kept.results]
        axes.barh(
            [place + shift for place, _ in known],
            [used for _, used in known],
            0.38,
            color=colour,
            label=kept.server,
        )
    axes.axvline(1, color=DOWN, label="the aim")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("part of the aim that is used up (logarithmic): left of the line is met")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    axes.set_title("Targets")


def _draw_readers(figure: Figure, native: Kept) -> None:
    axes = figure.add_subplot()
    curves: dict[str, list[tuple[int, float]]] = {}
    for what, result in native.results.items():
        if match := _READERS.fullmatch(what):
            curves.setdefault(f"ours, DataFrames, {match[2]}", []).append((int(match[1]), result.value))
            if result.beside:
                curves.setdefault(f"{result.beside}, {match[2]}", []).append(
                    (int(match[1]), result.beside_value)
                )
    for (name, points), colour in zip(curves.items(), (UP, DOWN, FAINT), strict=False):
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
    axes.set_xlabel("readers at once")
    axes.set_ylabel("p95 of a read, ms (logarithmic)")
    axes.set_yscale("log")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    axes.set_title("Reads by many at once, two cores for everything")
