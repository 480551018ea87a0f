"""What the pipeline has done and holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datalayer.domain.write_counts import WriteCounts
    from datalayer.ingestion.events import EventKind


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """One kind of events. Counts are of this run, and begin with what the outbox still held.

    Attributes:
        accepted: events that were accepted.
        stored: what became of those that the database has.
        quarantined: those of them that the database refused.
        buffered: events in memory, those that are being written included.
        spilled: events on disk only.
        retries: attempts to write that failed and are or were tried again.
        oldest_age_s: seconds since the oldest event in memory was accepted that nobody writes yet; 0 for none.
    """

    accepted: int
    stored: WriteCounts
    quarantined: int
    buffered: int
    spilled: int
    retries: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class IngestionStatistics:
    """A snapshot.

    Attributes:
        lanes: by kind.
        rejected: records that were refused here, by a rule or for their instrument, and messages that were no records.
        forming: forming candles, which went to the cache only.
        flagged: notices of accepted records, such as prices that stand out.
        outbox_bytes: size of the outbox on disk; 0 without one.
        outbox_commits: commits to it.
        outbox_is_full: whether callers wait since it cannot grow.
    """

    lanes: Mapping[EventKind, LaneStatistics]
    rejected: int
    forming: int
    flagged: int
    outbox_bytes: int
    outbox_commits: int
    outbox_is_full: bool
