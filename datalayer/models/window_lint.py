"""Rules that windows of policies keep among each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from datalayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from datalayer.models.windows import Windows


class _Setting(NamedTuple):
    name: str
    value: timedelta

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def lint(relations: Iterable[Windows]) -> None:
    """Refuse windows that contradict each other.

    - Retention keeps at least what a refresh still reads, else the refresh deletes what the aggregate had
      (timescaledb #2198), and begins after compression.
    - Compression begins behind every refresh window over the same data.
    - A refresh window holds two buckets at least, as TimescaleDB demands.
    - In a hierarchy buckets divide each other, and a window reaches at least as far back, and ends at least as early,
      as that of its source, and starts later in the minute.

    Args:
        relations: hypertables and aggregates; the source of each aggregate is among them.

    Raises:
        ConfigurationError: names the two settings of each contradiction with their values.
    """
    known = {windows.relation: windows for windows in relations}
    faults = [fault for windows in known.values() for fault in _faults(windows, known)]
    if faults:
        raise ConfigurationError("; ".join(faults))


def _faults(own: Windows, known: dict[str, Windows]) -> Iterator[str]:
    compress = _Setting(f"{own.relation}.compress_after", own.compress_after)
    if own.drop_after is not None:
        yield from _longer(_Setting(f"{own.relation}.drop_after", own.drop_after), compress)
    if own.source is None or own.refresh is None or own.bucket is None:
        return
    start = _Setting(f"{own.relation}.refresh.start_offset", own.refresh.start_offset)
    for aged in (own, known[own.source]):
        for setting in _ageing(aged):
            yield from _longer(setting, start)
    bucket = _Setting(f"{own.relation}.bucket", own.bucket)
    end = _Setting(f"{own.relation}.refresh.end_offset", own.refresh.end_offset)
    if start.value - end.value < 2 * bucket.value:
        yield f"{start} must lie two times {bucket} before {end}"
    yield from _nesting(known[own.source], bucket, start, end)
    yield from _order(known[own.source], own)


def _ageing(windows: Windows) -> Iterator[_Setting]:
    yield _Setting(f"{windows.relation}.compress_after", windows.compress_after)
    if windows.drop_after is not None:
        yield _Setting(f"{windows.relation}.drop_after", windows.drop_after)


def _nesting(source: Windows, bucket: _Setting, start: _Setting, end: _Setting) -> Iterator[str]:
    if source.refresh is None or source.bucket is None:
        return
    source_bucket = _Setting(f"{source.relation}.bucket", source.bucket)
    if bucket.value <= source_bucket.value or bucket.value % source_bucket.value:
        yield f"{bucket} must be a multiple of {source_bucket}"
    source_start = _Setting(f"{source.relation}.refresh.start_offset", source.refresh.start_offset)
    if start.value < source_start.value:
        yield f"{start} must not be shorter than {source_start}"
    source_end = _Setting(f"{source.relation}.refresh.end_offset", source.refresh.end_offset)
    if end.value < source_end.value:
        yield f"{end} must not be shorter than {source_end}"


def _order(source: Windows, own: Windows) -> Iterator[str]:
    if source.refresh and own.refresh and own.refresh.second <= source.refresh.second:
        yield (
            f"{own.relation}.refresh.second={own.refresh.second} must be later than "
            f"{source.relation}.refresh.second={source.refresh.second}"
        )


def _longer(left: _Setting, right: _Setting) -> Iterator[str]:
    if left.value <= right.value:
        yield f"{left} must be longer than {right}"
