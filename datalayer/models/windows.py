"""The one place for the windows of all policies: refresh, compression, retention, chunk lengths.

The revisions write these values down as literals, since a revision never changes after its release; `datalayer db check`
compares them with the policies that a database really has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from datalayer.timescale import CompressionPolicy, RefreshPolicy, RetentionPolicy

if TYPE_CHECKING:
    from datalayer.timescale.specs import Policy

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one hypertable or continuous aggregate.

    Attributes:
        chunk_interval: length of a chunk.
        compress_after: age from which chunks are compressed.
        drop_after: age from which chunks may be dropped, once somebody switches that on; None: kept for ever.
        refresh: refresh policy of an aggregate; None for a hypertable.
    """

    chunk_interval: timedelta
    compress_after: timedelta
    drop_after: timedelta | None = None
    refresh: RefreshPolicy | None = None

    @property
    def ageing(self) -> list[CompressionPolicy | RetentionPolicy]:
        """The policies by age. Retention is made paused: imported history is older than any window."""
        made: list[CompressionPolicy | RetentionPolicy] = [
            CompressionPolicy(compress_after=self.compress_after)
        ]
        if self.drop_after is not None:
            made.append(RetentionPolicy(drop_after=self.drop_after, paused=True))
        return made

    @property
    def policies(self) -> list[Policy]:
        """All policies, the refresh policy of an aggregate among them."""
        return [*self.ageing, *([self.refresh] if self.refresh else [])]


def _refresh(bucket: timedelta, *, start: timedelta, every: timedelta, second: int) -> RefreshPolicy:
    """Return when an aggregate is refreshed.

    A refresh moves the watermark to its end, and what lies between the old watermark and its start vanishes from sight. So
    it starts as early as compression allows: an outage or backfill must be longer than that to be hidden. Only what changed
    is computed anew, so a wide window costs no more in the steady state. The window is one transaction, the levels run
    seconds apart from the bottom up, and often: what one run got wrong stands until the next (ADR 0006).
    """
    return RefreshPolicy(
        start_offset=start,
        # What is younger is computed at query time. Not less than `SETTLED_AFTER`: a row that a live feed is about to commit
        # would be behind the watermark.
        end_offset=max(bucket, _MINUTE),
        schedule_interval=every,
        phase=timedelta(seconds=second),
        buckets_per_batch=0,
        newest_first=False,
    )


# fmt: off
CANDLES: Final = Windows(28 * _DAY, 14 * _DAY)
CANDLES_1M: Final = Windows(28 * _DAY, 14 * _DAY, refresh=_refresh(_MINUTE, start=13 * _DAY, every=_MINUTE, second=0))
CANDLES_5M: Final = Windows(84 * _DAY, 28 * _DAY, refresh=_refresh(5 * _MINUTE, start=13 * _DAY, every=5 * _MINUTE, second=10))
CANDLES_15M: Final = Windows(84 * _DAY, 28 * _DAY, refresh=_refresh(15 * _MINUTE, start=13 * _DAY, every=5 * _MINUTE, second=20))
CANDLES_1H: Final = Windows(364 * _DAY, 84 * _DAY, refresh=_refresh(_HOUR, start=13 * _DAY, every=5 * _MINUTE, second=30))
CANDLES_4H: Final = Windows(364 * _DAY, 84 * _DAY, refresh=_refresh(4 * _HOUR, start=13 * _DAY, every=5 * _MINUTE, second=40))
CANDLES_1D: Final = Windows(1820 * _DAY, 364 * _DAY, refresh=_refresh(_DAY, start=13 * _DAY, every=5 * _MINUTE, second=50))

TRADES: Final = Windows(_DAY, 2 * _DAY, 365 * _DAY)
ORDER_BOOK_IMBALANCES: Final = Windows(7 * _DAY, 7 * _DAY, 90 * _DAY)
ORDER_BOOKS: Final = Windows(_DAY, 2 * _DAY, 30 * _DAY)
ORDER_BOOK_1S: Final = Windows(7 * _DAY, 7 * _DAY, 180 * _DAY, _refresh(timedelta(seconds=1), start=36 * _HOUR, every=_MINUTE, second=5))
ORDER_BOOK_1M: Final = Windows(28 * _DAY, 28 * _DAY, refresh=_refresh(_MINUTE, start=36 * _HOUR, every=_MINUTE, second=15))
# fmt: on
