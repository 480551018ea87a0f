"""What `datalayer monitor` shows, in 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from datalayer.monitoring.endpoint import Reading, quantile, rate
from datalayer.monitoring.words import bytes_text, length_text, seconds_text

if TYPE_CHECKING:
    from datalayer.monitoring import DatabaseState

_MOST_ROWS = 12


def storage_line(state: DatabaseState) -> Text:
    """Return the database in a line."""
    before = sum(one.bytes_before for one in state.relations)
    after = sum(one.bytes_after for one in state.relations)
    saved = f", {1 - after / before:.0%} saved by compression" if before else ""
    a_day = sum(one.bytes_per_day for one in state.relations)
    return Text(f"{state.at:%H:%M:%S} UTC  {bytes_text(state.size_bytes)}, {bytes_text(a_day)} a day{saved}")


def watched_series(state: DatabaseState) -> Table:
    """Return the freshest series, as many as there is room for."""
    table = Table("symbol", "data", "last (UTC)", "age", "missing in 24 h", box=None, padding=(0, 2, 0, 0))
    freshest = sorted(state.series, key=lambda one: one.known_at, reverse=True)
    for one in freshest[:_MOST_ROWS]:
        missing = "-" if one.missing is None else f"{one.missing:,}"
        last = f"{one.stored.last:%m-%d %H:%M:%S}"
        table.add_row(one.stored.symbol, one.label, last, length_text(state.age_of(one)), missing)
    if len(freshest) > _MOST_ROWS:
        table.add_row(f"and {len(freshest) - _MOST_ROWS} more", "", "", "", "")
    return table


def service_table(before: Reading, after: Reading) -> Table:
    """Return what a service did between two readings, by kind of events."""
    table = Table("service", "events/s", "waiting", "age 95 %", "flush 95 %", box=None, padding=(0, 2, 0, 0))
    for kind in after.by_label("datalayer_ingestion_accepted_total", "kind"):
        waiting = after.total("datalayer_ingestion_buffered_events", kind=kind) + after.total(
            "datalayer_ingestion_spilled_events", kind=kind
        )
        table.add_row(
            kind.replace("_", " "),
            f"{rate(before, after, 'datalayer_ingestion_accepted_total', kind=kind):,.1f}",
            f"{waiting:,.0f}",
            seconds_text(quantile(before, after, "datalayer_ingestion_age_seconds", 0.95, kind=kind)),
            seconds_text(
                quantile(before, after, "datalayer_ingestion_flush_duration_seconds", 0.95, kind=kind)
            ),
        )
    reads = seconds_text(quantile(before, after, "datalayer_cache_read_duration_seconds", 0.99))
    outbox = bytes_text(after.total("datalayer_outbox_size_bytes"))
    table.caption = (
        f"cache hit rate {_hit_rate(before, after)}, reads 99 % {reads}; outbox {outbox}; "
        f"refused {after.total('datalayer_ingestion_refused_total'):,.0f}, retries {after.total('datalayer_ingestion_retries_total'):,.0f}"
    )
    table.caption_justify = "left"
    return table


def _hit_rate(before: Reading, after: Reading) -> str:
    hits, misses = (rate(before, after, f"datalayer_cache_{what}_total") for what in ("hits", "misses"))
    return f"{hits / (hits + misses):.0%}" if hits + misses else "-"
