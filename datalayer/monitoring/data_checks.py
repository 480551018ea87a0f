"""Checks of what is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from datalayer.monitoring.findings import Finding, HealthLimits, Verdict
from datalayer.monitoring.words import length_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datalayer.monitoring.state import DatabaseState, SeriesState


def check_aggregates(state: DatabaseState, limits: HealthLimits) -> Iterator[Finding]:
    """Whether late rows reach the aggregates."""
    old = [span for span in state.dirty if state.at - span.recorded_at > limits.dirty_after]
    if old:
        age = length_text(state.at - min(span.recorded_at for span in old))
        found = f"{len(old)} ranges with late rows wait to be refreshed, the oldest for {age}"
        yield Finding(
            "aggregates",
            Verdict.WARNING,
            found,
            "`datalayer aggregates refresh`; `--every 60` does it for good",
        )
    else:
        yield Finding(
            "aggregates", Verdict.OK, f"{len(state.dirty)} ranges with late rows wait, none for long"
        )


def check_freshness(state: DatabaseState, limits: HealthLimits) -> Iterator[Finding]:
    """Whether live series go on."""
    live = [one for one in state.series if state.age_of(one) <= limits.live_within]
    stale = [one for one in live if state.age_of(one) > limits.stale_after + _length(one)]
    for symbol in sorted({one.stored.symbol for one in stale}):
        ends = (
            f"{one.label} {length_text(state.age_of(one))} ago"
            for one in stale
            if one.stored.symbol == symbol
        )
        found = f"{symbol} goes on no more: last {', '.join(ends)}"
        yield Finding("freshness", Verdict.PROBLEM, found, "see whether its feed runs, and what its log says")
    if not stale:
        ended = len(state.series) - len(live)
        yield Finding("freshness", Verdict.OK, f"{len(live)} live series, all fresh; {ended} ended")


def _length(one: SeriesState) -> timedelta:
    return one.timeframe.length if one.timeframe else timedelta(0)


def check_gaps(state: DatabaseState) -> Iterator[Finding]:
    """Whether candles are missing of late."""
    holes = [one for one in state.series if one.missing]
    for one in holes:
        found = f"{one.stored.symbol} {one.label} misses {one.missing:,} in the day before its last"
        label = one.timeframe.label if one.timeframe else ""
        yield Finding(
            "gaps", Verdict.WARNING, found, f"`datalayer coverage {one.stored.symbol} {label}` lists them"
        )
    if not holes:
        yield Finding("gaps", Verdict.OK, "no candle is missing in the day before the last of each series")


def check_quarantine(state: DatabaseState) -> Iterator[Finding]:
    """Whether records wait to be seen to."""
    count = sum(state.open_rejects.values())
    if count:
        rules = ", ".join(f"{rule} {n:,}" for rule, n in state.open_rejects.items())
        yield Finding(
            "quarantine",
            Verdict.WARNING,
            f"{count:,} records: {rules}",
            "`datalayer rejects list`, then retry or discard",
        )
    else:
        yield Finding("quarantine", Verdict.OK, "no record waits to be seen to")
