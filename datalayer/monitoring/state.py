"""What a database is found to be at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from datalayer.domain.coverage import StoredRange
    from datalayer.domain.timeframe import Timeframe
    from datalayer.repositories.dirty_ranges import DirtySpan
    from datalayer.timescale import Job


@dataclass(frozen=True, slots=True)
class RelationState:
    """What a hypertable or a continuous aggregate takes up, and what its policies have left to do.

    Attributes:
        name: of the relation.
        is_aggregate: whether it is a continuous aggregate.
        size_bytes: of everything: rows, indexes, compressed and not.
        chunks: number of its chunks.
        compressed_chunks: how many of them are compressed.
        bytes_before: what those took before.
        bytes_after: what they take since.
        bytes_per_day: how much a day of data takes, by the chunks of the last 30 days before the end of the newest; 0: empty.
        oldest: start of the oldest chunk, UTC; None: there is none.
        due_chunks: chunks that the compression policy should have compressed by now; 0 without a policy.
        droppable_chunks: chunks that a retention policy that is on should have dropped by now.
        drop_after: age from which chunks are dropped by a retention policy; None: there is none.
        retention_is_on: whether that policy runs.
        growth: bytes of each chunk by the start of its range, UTC, ascending.
    """

    name: str
    is_aggregate: bool
    size_bytes: int = 0
    chunks: int = 0
    compressed_chunks: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    bytes_per_day: float = 0.0
    oldest: datetime | None = None
    due_chunks: int = 0
    droppable_chunks: int = 0
    drop_after: timedelta | None = None
    retention_is_on: bool = False
    growth: tuple[tuple[datetime, int], ...] = ()

    @property
    def saved(self) -> float | None:
        """Share that compression saved, in [0, 1]; None: nothing is compressed."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else None


@dataclass(frozen=True, slots=True)
class SeriesState:
    """How one stored series is.

    Attributes:
        stored: what it is of, and from when to when.
        known_at: since when its last row could be known, UTC: of candles, the close.
        missing: candles that nobody has in the day before the last one; None: not of candles.
    """

    stored: StoredRange
    known_at: datetime
    missing: int | None = None

    @property
    def timeframe(self) -> Timeframe | None:
        """Of candles."""
        return self.stored.timeframe

    @property
    def label(self) -> str:
        """What it is of, as in `candles 1m` and `order books`."""
        kind = self.stored.kind.replace("_", " ")
        return kind if self.timeframe is None else f"{kind} {self.timeframe.label}"


@dataclass(frozen=True, slots=True)
class JobState:
    """How a policy does.

    Attributes:
        job: what TimescaleDB says.
        lag: how long ago it should have begun and has not; zero: it is in time, paused, or not planned.
    """

    job: Job
    lag: timedelta = timedelta(0)

    @property
    def has_failed(self) -> bool:
        """Whether its last run failed."""
        return self.job.last_status == "Failed"


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a database is found to be.

    Attributes:
        at: when it was asked, by its own clock, UTC.
        postgres: version of PostgreSQL.
        timescaledb: version of TimescaleDB.
        revision: of the schema; None: there is none.
        newest_revision: that this package wants.
        read_only: it refuses writes, as a standby does.
        size_bytes: of the whole database.
        relations: hypertables and aggregates, by name.
        jobs: policies.
        dirty: ranges whose aggregates are to be refreshed.
        series: what is stored, by symbol.
        open_rejects: records in quarantine that nobody has seen to, by rule.
    """

    at: datetime
    postgres: str
    timescaledb: str | None
    revision: str | None
    newest_revision: str
    read_only: bool
    size_bytes: int
    relations: tuple[RelationState, ...] = ()
    jobs: tuple[JobState, ...] = ()
    dirty: tuple[DirtySpan, ...] = ()
    series: tuple[SeriesState, ...] = ()
    open_rejects: Mapping[str, int] = field(default_factory=dict)

    def age_of(self, series: SeriesState) -> timedelta:
        """Return how old the last row of a series is; zero where the exchange's clock is ahead."""
        return max(self.at - series.known_at, timedelta(0))

    @property
    def is_current(self) -> bool:
        """Whether the schema is the one that this package wants."""
        return self.revision == self.newest_revision
