"""The page: HTML made from what was read, everything from the database escaped."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from html import escape
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from datalayer.monitoring.checks import diagnose
from datalayer.monitoring.dashboard.svg import candle_chart, coverage_map, highest, line_chart
from datalayer.monitoring.findings import Verdict, worst
from datalayer.monitoring.words import bytes_text, length_text, seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from datalayer.domain.timeframe import Timeframe
    from datalayer.monitoring.dashboard.history import ServiceHistory
    from datalayer.monitoring.dashboard.reading import SymbolView
    from datalayer.monitoring.state import DatabaseState

STYLE: Final = """
:root { color-scheme: light dark; --ink: light-dark(#1c2430, #dde3ea); --soft: light-dark(#677384, #8d99a8);
  --paper: light-dark(#f4f6f8, #10151b); --card: light-dark(#fff, #182029); --line: light-dark(#dfe4ea, #2a3542);
  --up: light-dark(#0f8a6d, #33c2a0); --down: light-dark(#c8453b, #ff7a6e); --warn: light-dark(#a86400, #f0b24a);
  --l1: light-dark(#2d6cdf, #6aa5ff); --l2: light-dark(#8a4fc9, #c08cff); }
* { box-sizing: border-box; }
body { margin: 0; padding: 16px; font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
header, form { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: baseline; }
h1 { font-size: 19px; margin: 0; } h2 { font-size: 15px; margin: 0 0 8px; } p { margin: 4px 0; }
form { margin: 12px 0; } label { color: var(--soft); } select, button { font: inherit; padding: 2px 6px; }
main { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 12px; min-width: 0; }
section.wide { grid-column: 1 / -1; overflow-x: auto; }
table { border-collapse: collapse; white-space: nowrap; } th { text-align: left; color: var(--soft); font-weight: normal; }
td, th { padding: 2px 18px 2px 0; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.soft { color: var(--soft); } .ok { color: var(--up); } .warning { color: var(--warn); } .problem { color: var(--down); }
li { margin: 4px 0; overflow-wrap: anywhere; } ul { margin: 0; padding-left: 18px; }
svg { display: block; width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg text.mark { text-anchor: end; } .grid { stroke: var(--line); }
.absent { stroke: var(--down); stroke-dasharray: 4 4; }
.up line, .up rect { stroke: var(--up); } .up rect { fill: var(--card); } .down line { stroke: var(--down); } .down rect { fill: var(--down); }
.line { fill: none; stroke-width: 1.6; } .l0.line { stroke: var(--up); } .l1.line { stroke: var(--l1); }
.l2.line { stroke: var(--l2); } .l3.line { stroke: var(--warn); } svg text.l0 { fill: var(--up); } svg text.l1 { fill: var(--l1); }
svg text.l2 { fill: var(--l2); } svg text.l3 { fill: var(--warn); }
rect.traded { fill: var(--up); } rect.silent { fill: var(--l1); } rect.missing { fill: var(--down); } rect.none { fill: var(--line); }
.key { display: inline-block; width: 11px; height: 11px; margin: 0 4px 0 12px; } .key.traded { background: var(--up); }
.key.silent { background: var(--l1); } .key.missing { background: var(--down); } .key.none { background: var(--line); }
"""
STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
REFRESH_S: Final = 15
SPANS: Final = {f"{days} day{'s' if days > 1 else ''}": timedelta(days=days) for days in (1, 7, 30, 365)}
"""Lengths of the coverage map."""


def document(title: str, body: str, *, refresh: bool = False) -> str:
    """Return a whole page."""
    again = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )


def message(title: str, text: str) -> str:
    """Return a page that says one thing."""
    return document(
        title, f'<header><h1>{escape(title)}</h1></header><p>{escape(text)}</p><p><a href="/">Back</a></p>'
    )


def head(state: DatabaseState) -> str:
    """Return the title with the verdict and the database in a line."""
    verdict = worst(diagnose(state))
    return (
        f'<header><h1>Data layer</h1><strong class="{verdict.label}">{"all is well" if verdict is Verdict.OK else verdict.label}</strong>'
        f'<span class="soft">PostgreSQL {escape(state.postgres)}, TimescaleDB {escape(state.timescaledb or "-")}, '
        f"revision {escape(state.revision or 'base')}, {bytes_text(state.size_bytes)}, looked at {state.at:%H:%M:%S} UTC</span></header>"
    )


def choices(chosen: Mapping[str, str], offered: Mapping[str, Iterable[str]]) -> str:
    """Return the form that chooses what is shown."""
    selects = []
    for name, values in offered.items():
        options = "".join(
            f"<option{' selected' if value == chosen[name] else ''}>{escape(value)}</option>"
            for value in values
        )
        selects.append(f'<label>{name} <select name="{name}">{options}</select></label>')
    return f'<form method="get" action="/">{"".join(selects)}<button>Show</button></form>'


def symbol_sections(view: SymbolView, symbol: str, timeframe: Timeframe) -> str:
    """Return candles, coverage and rows a second of a symbol."""
    empty = '<p class="soft">nothing of it is stored</p>'
    candles = candle_chart(view.candles, timeframe.length) if len(view.candles) else empty
    coverage = coverage_map(view.reports, view.start, view.end) if view.reports else empty
    keys = "".join(
        f'<span class="key {name}"></span>{text}'
        for name, text in (
            ("traded", "traded"),
            ("silent", "silent"),
            ("missing", "missing"),
            ("none", "outside of what is stored"),
        )
    )
    missing = sum(report.missing for report in view.reports)
    left = "".join(
        f"<p class='soft'>{one.label}: too many candles for this span</p>" for one in view.left_out
    )
    rates = line_chart(view.rates) if view.rates else '<p class="soft">nothing came in that hour</p>'
    return (
        _section(f"{symbol} {timeframe.label}, the last {len(view.candles)} candles", candles)
        + _section(f"Coverage: {missing:,} missing", f'{coverage}<p class="soft">{keys}</p>{left}')
        + _section("Rows a second, by exchange time, in the hour before the newest", rates)
    )


def latency_section(history: ServiceHistory) -> str:
    """Return latencies and events a second of the service."""
    if history.address is None:
        text = "--metrics ADDRESS names a service that serves its metrics; its latencies are shown here."
    elif history.failure is not None:
        text = f"{history.address} does not answer: {history.failure}"
    else:
        text = "Two readings are needed; the first comes within seconds."
    if history.failure is not None or not history.rates:
        return _section("Service", f'<p class="soft">{escape(text)}</p>')
    latencies = history.latencies
    marks = _marks(highest(latencies), seconds_text) if latencies else {}
    chart = line_chart(latencies, marks) if latencies else '<p class="soft">nothing was measured yet</p>'
    return _section("Latencies", chart) + _section(
        "Events accepted a second", line_chart({"all": history.rates})
    )


def storage_section(state: DatabaseState) -> str:
    """Return how storage grew, by the time of the data."""
    grown: dict[str, list[tuple[datetime, float]]] = {}
    for name, is_aggregate in (("hypertables", False), ("aggregates", True)):
        chunks = sorted(
            chunk for one in state.relations if one.is_aggregate is is_aggregate for chunk in one.growth
        )
        if chunks:
            sizes = [0.0, *accumulate(float(size) for _, size in chunks)]
            times = [at for at, _ in chunks] + [max(state.at, chunks[-1][0])]
            # In steps: a chunk is there from its start on.
            grown[name] = [
                (at, size)
                for at, pair in zip(times, pairwise([*sizes, sizes[-1]]), strict=True)
                for size in pair
            ]
    if not grown:
        return _section("Storage", '<p class="soft">nothing is stored yet</p>')
    chart = line_chart(grown, _marks(highest(grown), bytes_text))
    before, after = (
        sum(getattr(one, f"bytes_{when}") for one in state.relations) for when in ("before", "after")
    )
    saved = f", {1 - after / before:.0%} saved by compression" if before else ""
    a_day = bytes_text(sum(one.bytes_per_day for one in state.relations))
    return _section(
        "Storage growth, by the time of the data", f'{chart}<p class="soft">{a_day} a day{saved}</p>'
    )


def findings_section(state: DatabaseState) -> str:
    """Return what is wrong and what to do."""
    wrong = [one for one in diagnose(state) if one.verdict is not Verdict.OK]
    lines = "".join(
        f'<li><span class="{one.verdict.label}">{one.check}</span>: {escape(one.found)}'
        f'<br><span class="soft">{escape(one.todo or "")}</span></li>'
        for one in wrong
    )
    inner = f"<ul>{lines}</ul>" if wrong else '<p class="ok">all is well</p>'
    return f'<section class="wide"><h2>What to do</h2>{inner}</section>'


def series_section(state: DatabaseState) -> str:
    """Return what is stored."""
    rows = "".join(
        f"<tr><td>{escape(one.stored.symbol)}</td><td>{one.label}</td><td>{one.stored.first:%Y-%m-%d %H:%M:%S}</td>"
        f'<td>{one.stored.last:%Y-%m-%d %H:%M:%S}</td><td class="n">{length_text(state.age_of(one))}</td>'
        f'<td class="n">{"-" if one.missing is None else f"{one.missing:,}"}</td></tr>'
        for one in state.series
    )
    names = "".join(
        f"<th>{name}</th>"
        for name in ("symbol", "data", "first (UTC)", "last (UTC)", "age", "missing in its last day")
    )
    table = f"<table><tr>{names}</tr>{rows}</table>"
    return f'<section class="wide"><h2>What is stored</h2>{table if rows else "<p>nothing yet</p>"}</section>'


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inner}</section>"


def _marks(top: float, words: Callable[[float], str]) -> dict[float, str]:
    return {value: words(value) for value in (0.0, top / 2, top)}
