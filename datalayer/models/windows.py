"""The one place for the windows of all policies: refresh, compression, retention, chunk lengths.

The revisions write these values down as literals, since a revision never changes after its release; a contract test
compares them with the policies that a migrated database really has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

COMPRESSION_SCHEDULE: Final = timedelta(hours=12)
RETENTION_SCHEDULE: Final = timedelta(days=1)

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Refresh:
    """When an aggregate is brought up to date.

    Attributes:
        start_offset: how far behind now the refreshed window begins.
        end_offset: how far behind now it ends; what is younger is computed at query time.
        schedule_interval: time between two runs; short even where buckets are long, since a run without news is quick and
            what one run got wrong (ADR 0006) stands until the next.
        second: second of the minute at which a run starts, later than that of the source.
    """

    start_offset: timedelta
    end_offset: timedelta
    schedule_interval: timedelta
    second: int


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one hypertable or continuous aggregate.

    Attributes:
        relation: its name.
        chunk_interval: length of a chunk.
        compress_after: age from which chunks are compressed.
        drop_after: age from which chunks may be dropped, once somebody switches that on; None: kept for ever.
        source: the relation that an aggregate reads; None for a hypertable.
        bucket: bucket length of an aggregate; None for a hypertable.
        refresh: refresh policy of an aggregate; None for a hypertable.
    """

    relation: str
    chunk_interval: timedelta
    compress_after: timedelta
    drop_after: timedelta | None = None
    source: str | None = None
    bucket: timedelta | None = None
    refresh: Refresh | None = None


HYPERTABLES: Final = (
    Windows("candles", chunk_interval=7 * _DAY, compress_after=14 * _DAY),
    Windows("trades", chunk_interval=_DAY, compress_after=2 * _DAY, drop_after=365 * _DAY),
    Windows("order_books", chunk_interval=_DAY, compress_after=2 * _DAY, drop_after=30 * _DAY),
    Windows("order_book_imbalances", chunk_interval=7 * _DAY, compress_after=7 * _DAY, drop_after=90 * _DAY),
)


def _aggregate(
    relation: str,
    source: str,
    bucket: timedelta,
    *,
    start: timedelta,
    every: timedelta,
    second: int,
    chunk: timedelta,
    compress_after: timedelta,
    drop_after: timedelta | None = None,
) -> Windows:
    refresh = Refresh(start_offset=start, end_offset=bucket, schedule_interval=every, second=second)
    return Windows(relation, chunk, compress_after, drop_after, source, bucket, refresh)


# A refresh moves the watermark to its end, and what lies between the old watermark and its start vanishes from sight. So it
# starts as early as compression allows: an outage or backfill must be longer than that to be hidden. Only what changed is
# computed anew, so a wide window costs no more in the steady state.
# fmt: off
CANDLE_AGGREGATES: Final = (
    _aggregate("candles_1m", "candles", _MINUTE, start=13 * _DAY, every=_MINUTE, second=0, chunk=28 * _DAY, compress_after=14 * _DAY),
    _aggregate("candles_5m", "candles_1m", 5 * _MINUTE, start=13 * _DAY, every=5 * _MINUTE, second=10, chunk=84 * _DAY, compress_after=28 * _DAY),
    _aggregate("candles_15m", "candles_5m", 15 * _MINUTE, start=13 * _DAY, every=5 * _MINUTE, second=20, chunk=84 * _DAY, compress_after=28 * _DAY),
    _aggregate("candles_1h", "candles_15m", _HOUR, start=13 * _DAY, every=5 * _MINUTE, second=30, chunk=364 * _DAY, compress_after=84 * _DAY),
    _aggregate("candles_4h", "candles_1h", 4 * _HOUR, start=13 * _DAY, every=5 * _MINUTE, second=40, chunk=364 * _DAY, compress_after=84 * _DAY),
    _aggregate("candles_1d", "candles_4h", _DAY, start=13 * _DAY, every=5 * _MINUTE, second=50, chunk=1820 * _DAY, compress_after=364 * _DAY),
)

ORDER_BOOK_AGGREGATES: Final = (
    _aggregate("order_book_1s", "order_books", timedelta(seconds=1), start=36 * _HOUR, every=_MINUTE, second=5, chunk=7 * _DAY, compress_after=7 * _DAY, drop_after=180 * _DAY),
    _aggregate("order_book_1m", "order_book_1s", _MINUTE, start=36 * _HOUR, every=_MINUTE, second=15, chunk=28 * _DAY, compress_after=28 * _DAY),
)
# fmt: on

ALL_WINDOWS: Final = (*HYPERTABLES, *CANDLE_AGGREGATES, *ORDER_BOOK_AGGREGATES)


def windows_of(relation: str) -> Windows:
    """Return the windows of a hypertable or aggregate.

    Raises:
        KeyError: there is no such relation.
    """
    return {windows.relation: windows for windows in ALL_WINDOWS}[relation]
