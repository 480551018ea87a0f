"""Rules that windows of policies keep among each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from datalayer.errors import ConfigurationError
from datalayer.timescale.intervals import Interval
from datalayer.timescale.specs import AggregateSpec, CompressionPolicy, RefreshPolicy, RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from datalayer.timescale.specs import Key, Policy, Relation

_DAY: Final = Interval.of("1 day")
_OPEN: Final = {"start_offset": math.inf, "end_offset": -math.inf}
"""How far behind now an offset lies that is None."""


class _Setting(NamedTuple):
    name: str
    value: Interval | None
    size: float

    def __str__(self) -> str:
        return f"{self.name}={self.value}"

    def __lt__(self, other: object) -> bool:
        # A window in days and one in the numbers of an integer column cannot be compared.
        if not isinstance(other, _Setting) or (
            self.value is not None
            and other.value is not None
            and (self.value.integer is None) is not (other.value.integer is None)
        ):
            return False
        return self.size < other.size

    def __le__(self, other: object) -> bool:
        return self < other or (isinstance(other, _Setting) and self.value == other.value)


def refuse_contradictions(relations: Iterable[Relation]) -> None:
    """Refuse windows that contradict each other.

    - Retention keeps at least what a refresh still reads, else the refresh deletes what the aggregate had
      (timescaledb #2198), and begins after compression. A window that begins with the data (`start_offset=None`) allows no
      retention.
    - Compression begins behind every refresh window over the same data that has a beginning.
    - A refresh window holds two buckets at least, as TimescaleDB demands.
    - In a hierarchy buckets divide each other, and a window reaches at least as far back, and ends at least as early, as
      that of its source; of two with phases, the source's is the earlier.

    Args:
        relations: hypertables and aggregates; a source that is not among them is not looked at.

    Raises:
        ConfigurationError: names the two settings of each contradiction with their values.
    """
    known = {relation.key: relation for relation in relations}
    faults = [fault for relation in known.values() for fault in _faults(relation, known)]
    if faults:
        raise ConfigurationError("; ".join(faults))


def _faults(own: Relation, known: dict[Key, Relation]) -> Iterator[str]:
    ageing = list(_ageing(own))
    if len(ageing) > 1:
        compress, drop = ageing
        yield from _longer(drop, compress)
    refresh = _refresh(own)
    if not isinstance(own, AggregateSpec):
        return
    sources = [known[key] for key in own.sources if key in known]
    for source in sources:
        yield from _buckets(source, own)
    if refresh is None:
        return
    start = _of(own, refresh, "start_offset")
    for aged in (own, *sources):
        for setting in _ageing(aged):
            # Chunks of any age may be compressed and refreshed still; dropped ones may not.
            if start.value is not None or setting.name.endswith(".drop_after"):
                yield from _longer(setting, start)
    yield from _holds_two_buckets(own, refresh)
    for source in sources:
        yield from _nesting(source, own)
        yield from _order(source, own)


def _refresh(relation: Relation) -> RefreshPolicy | None:
    return next((policy for policy in relation.policies if isinstance(policy, RefreshPolicy)), None)


def _ageing(relation: Relation) -> Iterator[_Setting]:
    for policy in relation.policies:
        if isinstance(policy, CompressionPolicy):
            yield _of(relation, policy, "compress_after")
        elif isinstance(policy, RetentionPolicy):
            yield _of(relation, policy, "drop_after")


def _holds_two_buckets(own: AggregateSpec, refresh: RefreshPolicy) -> Iterator[str]:
    if own.bucket is None:
        return
    start, end = _of(own, refresh, "start_offset"), _of(own, refresh, "end_offset")
    if start.size - end.size < 2 * own.bucket.size:
        yield f"{start} must lie two times {_bucket(own)} before {end}"


def _buckets(source: Relation, own: AggregateSpec) -> Iterator[str]:
    if not isinstance(source, AggregateSpec) or source.bucket is None or own.bucket is None:
        return
    if not _divides(source.bucket, own.bucket):
        yield f"{_bucket(own)} must be a multiple of {_bucket(source)}"


def _nesting(source: Relation, own: AggregateSpec) -> Iterator[str]:
    lower, upper = _refresh(source), _refresh(own)
    if lower is None or upper is None:
        return
    for field in _OPEN:
        setting, of_source = _of(own, upper, field), _of(source, lower, field)
        if setting < of_source:
            yield f"{setting} must not be shorter than {of_source}"


def _divides(source: Interval, own: Interval) -> bool:
    if source.integer is not None and own.integer is not None:
        return own.integer > source.integer and own.integer % source.integer == 0
    if source.months:
        return not own.microseconds and own.months > source.months and own.months % source.months == 0
    if own.months:  # every month is made of whole days
        return not own.microseconds and _DAY.microseconds % source.microseconds == 0
    return own.microseconds > source.microseconds and own.microseconds % source.microseconds == 0


def _order(source: Relation, own: Relation) -> Iterator[str]:
    lower, upper = _refresh(source), _refresh(own)
    if lower is None or upper is None or lower.phase is None or upper.phase is None:
        return
    setting, of_source = _of(own, upper, "phase"), _of(source, lower, "phase")
    if setting <= of_source:
        yield f"{setting} must be later than {of_source}"


def _longer(left: _Setting, right: _Setting) -> Iterator[str]:
    if left <= right:
        yield f"{left} must be longer than {right}"


def _of(relation: Relation, policy: Policy, field: str) -> _Setting:
    value: Interval | None = getattr(policy, field)
    size = _OPEN[field] if value is None else value.size
    return _Setting(f"{relation.name}.{policy.kind.name.lower()}.{field}", value, size)


def _bucket(aggregate: AggregateSpec) -> str:
    return f"{aggregate.name}.bucket={aggregate.bucket}"
