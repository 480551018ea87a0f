"""What a hypertable or continuous aggregate is, in values that compare: declared on models, found on servers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from datalayer.errors import InvalidInputError
from datalayer.timescale.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.timescale.intervals import IntervalLike

_ORDER: Final = re.compile(
    r"(?P<column>.+?)(?: (?P<way>ASC|DESC))?(?: NULLS (?P<nulls>FIRST|LAST))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class HashDimension:
    """A further dimension: chunks are split by the hash of a column too.

    Attributes:
        column: its name.
        partitions: number of parts.
    """

    column: str
    partitions: int


@dataclass(frozen=True, slots=True, init=False)
class RangeDimension:
    """A further dimension: chunks are split by ranges of a column too.

    Attributes:
        column: its name.
        interval: length of a range.
    """

    column: str
    interval: Interval

    def __init__(self, column: str, interval: IntervalLike) -> None:
        _set(self, column=column, interval=Interval.of(interval, "interval").fixed)


Dimension: TypeAlias = HashDimension | RangeDimension


@dataclass(frozen=True, slots=True)
class OrderBy:
    """A column by which rows are sorted inside of a compressed chunk.

    Attributes:
        column: its name.
        descending: largest first.
        nulls_first: position of NULL.
    """

    column: str
    descending: bool = False
    nulls_first: bool = False

    @classmethod
    def of(cls, text: str | OrderBy) -> OrderBy:
        """Return what `ts`, `ts DESC` or `ts DESC NULLS LAST` says; the name is taken as it is, unquoted."""
        if isinstance(text, OrderBy):
            return text
        parts = _ORDER.fullmatch(text.strip())
        if parts is None:
            raise InvalidInputError("order_by", text, "write a column, then perhaps DESC and NULLS LAST")
        descending = (parts["way"] or "").upper() == "DESC"
        nulls_first = parts["nulls"].upper() == "FIRST" if parts["nulls"] else descending
        return cls(parts["column"], descending, nulls_first)

    def __str__(self) -> str:
        way = " DESC" if self.descending else ""
        if self.nulls_first == self.descending:  # PostgreSQL's default
            return self.column + way
        return f"{self.column}{way} NULLS {'FIRST' if self.nulls_first else 'LAST'}"


@dataclass(frozen=True, slots=True, init=False)
class Compression:
    """How chunks are compressed, that is turned into columnstore.

    Attributes:
        segment_by: columns whose values are kept apart, those that queries compare with `=`.
        order_by: how rows are sorted inside of a segment. Declared, it names the time column: TimescaleDB's default differs
            between versions. Empty: found on a server where nobody has set it.
    """

    segment_by: tuple[str, ...]
    order_by: tuple[OrderBy, ...]

    def __init__(self, *, segment_by: Sequence[str] = (), order_by: Sequence[str | OrderBy]) -> None:
        for field, value in (("segment_by", segment_by), ("order_by", order_by)):
            if isinstance(value, str):
                raise InvalidInputError(field, value, "give a sequence of column names, as in ('ts',)")
        _set(self, segment_by=tuple(segment_by), order_by=tuple(OrderBy.of(column) for column in order_by))


class PolicyKind(StrEnum):
    """What a policy does; the value is the name of TimescaleDB's procedure."""

    REFRESH = "policy_refresh_continuous_aggregate"
    COMPRESSION = "policy_compression"
    RETENTION = "policy_retention"


@dataclass(frozen=True, slots=True, init=False)
class RefreshPolicy:
    """When a continuous aggregate is brought up to date.

    Attributes:
        start_offset: how far behind now the refreshed window begins; None: at the beginning of the data.
        end_offset: how far behind now it ends; None: it is open.
        schedule_interval: time between two runs.
        phase: runs start this long after whole multiples of `schedule_interval`, the first some minutes after the policy
            was made; None: the first run is at once and the next counts from its end.
        buckets_per_batch: buckets that one transaction materialises, 0 for all of the window; None: TimescaleDB's choice.
        newest_first: order of the batches; None: TimescaleDB's choice.
        paused: made without being switched on; a comparison accepts it switched on as well.
    """

    kind: ClassVar[PolicyKind] = PolicyKind.REFRESH

    start_offset: Interval | None
    end_offset: Interval | None
    schedule_interval: Interval
    phase: Interval | None
    buckets_per_batch: int | None
    newest_first: bool | None
    paused: bool

    def __init__(
        self,
        *,
        start_offset: IntervalLike | None,
        end_offset: IntervalLike | None,
        schedule_interval: IntervalLike,
        phase: IntervalLike | None = None,
        buckets_per_batch: int | None = None,
        newest_first: bool | None = None,
        paused: bool = False,
    ) -> None:
        _set(
            self,
            start_offset=_interval(start_offset, "start_offset"),
            end_offset=_interval(end_offset, "end_offset"),
            schedule_interval=_interval(schedule_interval, "schedule_interval"),
            phase=_interval(phase, "phase"),
            buckets_per_batch=buckets_per_batch,
            newest_first=newest_first,
            paused=paused,
        )


@dataclass(frozen=True, slots=True, init=False)
class CompressionPolicy:
    """When chunks are compressed.

    Attributes:
        compress_after: age of a chunk's end from which it is.
        schedule_interval: time between two runs.
        paused: as for `RefreshPolicy`.
    """

    kind: ClassVar[PolicyKind] = PolicyKind.COMPRESSION

    compress_after: Interval
    schedule_interval: Interval
    paused: bool

    def __init__(
        self,
        *,
        compress_after: IntervalLike,
        schedule_interval: IntervalLike = "12 hours",
        paused: bool = False,
    ) -> None:
        _set(
            self,
            compress_after=_interval(compress_after, "compress_after"),
            schedule_interval=_interval(schedule_interval, "schedule_interval"),
            paused=paused,
        )


@dataclass(frozen=True, slots=True, init=False)
class RetentionPolicy:
    """When chunks are dropped, with the rows in them.

    Attributes:
        drop_after: age of a chunk's end from which it is.
        schedule_interval: time between two runs.
        paused: as for `RefreshPolicy`.
    """

    kind: ClassVar[PolicyKind] = PolicyKind.RETENTION

    drop_after: Interval
    schedule_interval: Interval
    paused: bool

    def __init__(
        self, *, drop_after: IntervalLike, schedule_interval: IntervalLike = "1 day", paused: bool = False
    ) -> None:
        _set(
            self,
            drop_after=_interval(drop_after, "drop_after"),
            schedule_interval=_interval(schedule_interval, "schedule_interval"),
            paused=paused,
        )


Policy: TypeAlias = RefreshPolicy | CompressionPolicy | RetentionPolicy


@dataclass(frozen=True, slots=True)
class Relation:
    """What hypertables and continuous aggregates have in common.

    Attributes:
        name: unquoted.
        schema: None: the first of the search path.
        chunk_interval: length of a chunk; None: TimescaleDB's choice, not compared.
        compression: None: not compressed.
        policies: one of a kind at most, in the order refresh, compression, retention.
    """

    name: str
    schema: str | None
    chunk_interval: Interval | None
    compression: Compression | None
    policies: tuple[Policy, ...]

    @property
    def key(self) -> Key:
        """What names it in a database."""
        return self.schema, self.name

    def find_policy(self, kind: PolicyKind) -> Policy | None:
        """Return the policy of a kind."""
        return next((policy for policy in self.policies if policy.kind is kind), None)


Key: TypeAlias = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class HypertableSpec(Relation):
    """A hypertable.

    Attributes:
        time_column: the first dimension.
        dimensions: the further ones.
        create_default_indexes: let TimescaleDB make its indexes, which no metadata knows of.
    """

    time_column: str
    dimensions: tuple[Dimension, ...] = ()
    create_default_indexes: bool = False


@dataclass(frozen=True, slots=True)
class AggregateSpec(Relation):
    """A continuous aggregate.

    Attributes:
        definition: the SELECT as SQL.
        materialized_only: False: what is not materialised yet is computed at query time.
        create_group_indexes: let TimescaleDB index each group column with the bucket; not compared.
        comment: of the view.
        sources: relations that the definition reads.
        bucket: length of its buckets; None: not known.
    """

    definition: str
    materialized_only: bool
    create_group_indexes: bool = True
    comment: str | None = None
    sources: tuple[Key, ...] = ()
    bucket: Interval | None = None


def _interval(value: IntervalLike | None, field: str) -> Interval | None:
    return None if value is None else Interval.of(value, field)


def _set(frozen: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(frozen, name, value)
