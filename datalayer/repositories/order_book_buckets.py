"""Order books by buckets of time: from the continuous aggregate, and from the books where it cannot be trusted.

An aggregate does not know of a book that was written behind its watermark until it is refreshed, and shows nothing at all
between its watermark and the window of its next refresh. So what it has materialised is read first; buckets that it lacks,
and those that overlap a dirty range, are then computed from the stored books. If there are fewer of those than the aggregate
has counted, they were dropped by retention, and the aggregate is what is left of them.

What is younger than the watermark is computed from the books too, and not by the aggregate's view; see `materialised`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.moments import from_microseconds, to_microseconds
from datalayer.repositories.materialised import read_materialised
from datalayer.repositories.moments import visible_range
from datalayer.repositories.order_book_queries import (
    BUCKET_TYPES,
    Span,
    aggregate_query,
    generated_query,
    newest_query,
)
from datalayer.repositories.scale_guard import copy_out_scaled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.timeframe import Timeframe
    from datalayer.repositories.instruments import InstrumentRepository

SOURCES: Final = ("aggregate", "generated", "forming")
"""Where a bucket of a frame is from: materialised before; computed now, from all of its books; from those so far."""

_MOST_SPANS: Final = 1_000
_WIDER: Final = 16
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)

Rows = dict[str, "NDArray[Any]"]


@dataclass(frozen=True, slots=True)
class BucketSelection:
    """Buckets to read.

    Attributes:
        length: of a bucket.
        opens: starts of the buckets, both ends on the grid; all of them are over.
        limit: only the last so many.
        forming: the books so far of the bucket that is not over; None: it is not asked for, or not in the range.
    """

    length: Timeframe
    opens: Span
    limit: int | None = None
    forming: Span | None = None


def bucket_selection(
    length: Timeframe,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime | None,
    *,
    limit: int | None = None,
    include_forming: bool = False,
) -> BucketSelection:
    """Return the buckets that start in `[start, end)` and are over at `as_of`.

    Raises:
        InvalidInputError: a time is naive, or `end` before `start`.
    """
    moment = datetime.now(UTC) if as_of is None else as_of
    first, last = visible_range(start, end, moment, length=length.length)
    closed = length.ceil(last)
    opens = Span(closed if first is not None and first > closed else length.ceil(first or _EARLIEST), closed)
    if not include_forming:
        return BucketSelection(length, opens, limit)
    opened, (_, so_far) = length.floor(moment), visible_range(None, None, moment)
    wanted = (first is None or first <= opened) and (end is None or end > opened)
    return BucketSelection(length, opens, limit, Span(opened, so_far) if wanted else None)


async def read_buckets(
    conn: AsyncConnection, instruments: InstrumentRepository, symbol: str, chosen: BucketSelection
) -> tuple[Instrument, Rows]:
    """Read buckets.

    The last so many are looked for in a span that would hold them if each had books, then in wider ones: the view of an
    aggregate has no order that a query could follow from its end.

    Returns:
        The instrument with the scales of the rows, and the columns of `BUCKET_TYPES` with `origin` (int8, a place in
        `SOURCES`), ascending and unique by `ts`.

    Raises:
        InvalidInputError: symbol unknown, or the limit is negative.
        DatabaseError: the server refuses.
    """
    if chosen.limit is None:
        return await _read(conn, instruments, symbol, chosen)
    length, first = chosen.length.value * 1_000_000, to_microseconds(chosen.opens.start)
    width, newest = chosen.limit * length, to_microseconds(chosen.opens.end)
    for attempt in count():
        start = max(first, newest - width)
        window = replace(chosen, opens=Span(from_microseconds(start), chosen.opens.end))
        instrument, rows = await _read(conn, instruments, symbol, window)
        if start == first or len(rows["ts"]) >= chosen.limit:
            break
        if (
            attempt == 0
            and (found := await _newest_book(conn, instruments, symbol, chosen.opens)) is not None
        ):
            newest = found - found % length + length
        width *= _WIDER
    return instrument, rows


async def _newest_book(
    conn: AsyncConnection, instruments: InstrumentRepository, symbol: str, within: Span
) -> int | None:
    _, columns = await copy_out_scaled(
        conn, instruments, symbol, lambda found: newest_query(found, within), {"ts": "timestamptz"}
    )
    times = columns["ts"].data
    return int(times[0].astype(np.int64)) if len(times) else None


async def _read(
    conn: AsyncConnection, instruments: InstrumentRepository, symbol: str, chosen: BucketSelection
) -> tuple[Instrument, Rows]:
    name = f"order_book_{chosen.length.label}"
    materialised = (await read_materialised(conn, [name]))[name]
    while True:
        instrument, columns = await copy_out_scaled(
            conn,
            instruments,
            symbol,
            lambda found: aggregate_query(found, chosen.length, materialised, chosen.opens, chosen.limit),
            {**BUCKET_TYPES, "is_dirty": "int2"},
        )
        known = _rows(columns, turn=chosen.limit is not None)
        spans = _lacking(known, chosen)
        if not spans:
            return instrument, _best(known, chosen)
        again, columns = await copy_out_scaled(
            conn,
            instruments,
            symbol,
            lambda found: generated_query(found, chosen.length, spans, chosen.limit),  # noqa: B023 (called at once)
            BUCKET_TYPES,
        )
        # A scale that was widened in between: the two would not be of the same steps.
        if again == instrument:
            return instrument, _best(_joined(known, _rows(columns, turn=False)), chosen)


def _rows(columns: Mapping[str, Any], *, turn: bool) -> Rows:
    return {name: column.data[::-1] if turn else column.data for name, column in columns.items()}


def _lacking(known: Rows, chosen: BucketSelection) -> list[Span]:
    """Return the spans in which the aggregate has no bucket or one that is dirty, and the bucket that is forming."""
    length = chosen.length.value * 1_000_000
    at, clean = known["ts"].astype(np.int64), known["is_dirty"] == 0
    reached = chosen.limit is not None and len(at) == chosen.limit
    begin = at[0] if reached and len(at) else to_microseconds(chosen.opens.start)
    # What is left between clean buckets, and before the first and after the last of them.
    starts = np.concatenate([[begin], at[clean] + length])
    ends = np.concatenate([at[clean], [to_microseconds(chosen.opens.end)]])
    gaps = starts < ends
    spans = _merged(starts[gaps], ends[gaps]) if chosen.limit != 0 else []
    return spans if chosen.forming is None else [*spans, chosen.forming]


def _merged(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[Span]:
    # A book a minute leaves 59 of 60 seconds empty: then most of the books are read anyway.
    if len(starts) > _MOST_SPANS:
        by_width = np.argsort(starts[1:] - ends[:-1], kind="stable")
        widest = np.sort(by_width[len(starts) - _MOST_SPANS :])
        starts, ends = (
            starts[np.concatenate([[0], widest + 1])],
            ends[np.concatenate([widest, [len(ends) - 1]])],
        )
    return [
        Span(from_microseconds(start), from_microseconds(end))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def _joined(known: Rows, computed: Rows) -> Rows:
    """Return one row a bucket: the one with the more books, of as many the one that was computed now."""
    origin = np.repeat(np.array([0, 1], np.int8), [len(known["ts"]), len(computed["ts"])])
    both = {name: np.concatenate([known[name], computed[name]]) for name in BUCKET_TYPES}
    order = np.lexsort((origin, both["book_count"], both["ts"]))
    last = np.ones(len(order), bool)
    last[:-1] = both["ts"][order][1:] != both["ts"][order][:-1]
    return {name: column[order][last] for name, column in (both | {"origin": origin}).items()}


def _best(rows: Rows, chosen: BucketSelection) -> Rows:
    """Return the rows that are asked for, each with where it is from."""
    at = rows["ts"]
    origin = rows.get("origin", np.zeros(len(at), np.int8))
    if chosen.forming is not None:
        forming = np.datetime64(chosen.forming.start.replace(tzinfo=None), "us")
        origin = np.where(at == forming, np.int8(SOURCES.index("forming")), origin)
    first = 0 if chosen.limit is None else max(len(at) - chosen.limit, 0)
    return {name: column[first:] for name, column in (rows | {"origin": origin}).items()}
