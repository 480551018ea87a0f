"""What a migration would do, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.rollout.discovery import UNREADABLE_FILE, NotUnderstood, one_line
from datalayer.rollout.record_kinds import KINDS
from datalayer.rollout.scale_scan import NeededScales
from datalayer.rollout.source_file import read_pieces, scan_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, tzinfo
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.instrument import Instrument
    from datalayer.rollout.discovery import FoundFile
    from datalayer.rollout.source_file import FileScan

ROWS_PER_S: Final = 120_000
"""What `python -m benchmarks.migration` holds on a native server, verification included."""

BYTES_PER_ROW: Final = {"candle": 155, "trade": 110, "order_book": 1_500}
"""Of a chunk that is not compressed yet, the key and what undoes the migration included; compression leaves about a fifth."""

_STORED: Final = """
    SELECT count(*) FROM {table} AS r JOIN instruments AS i ON i.id = r.instrument_id
    WHERE i.symbol = :symbol AND r.ts BETWEEN :first AND :last {timeframe}
"""

SeriesName = tuple[str, str, int]
"""Kind, symbol, and seconds of the timeframe (0: no candles)."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedFile:
    """A file of the plan.

    Attributes:
        found: where it is, and what its name says.
        scan: what its times say.
        is_done: it was migrated before, with the same content.
        stored: rows that the database has in its range.
    """

    found: FoundFile
    scan: FileScan
    is_done: bool
    stored: int

    @property
    def series(self) -> SeriesName:
        """What it is a part of."""
        return series_name(self.found)


@dataclass(frozen=True, slots=True)
class PlannedScales:
    """The scales of one symbol.

    Attributes:
        symbol: canonical.
        needed: what its files need.
        registered: what it is registered with; None: not yet, so that it will be with what is needed.
    """

    symbol: str
    needed: NeededScales
    registered: Instrument | None

    @property
    def is_too_small(self) -> bool:
        """Whether rows would be refused."""
        there, needed = self.registered, self.needed
        return there is not None and (there.price_scale < needed.price or there.size_scale < needed.size)


@dataclass(frozen=True, slots=True, eq=False)
class MigrationPlan:
    """What a migration would do.

    Attributes:
        folder: the cache folder.
        files: those that it would take, in its order.
        not_understood: those that it would pass over, with the reason.
        scales: by symbol.
        overlaps: pairs of files of one series whose ranges overlap, by name, with the common range.
    """

    folder: Path
    files: tuple[PlannedFile, ...]
    not_understood: tuple[NotUnderstood, ...]
    scales: tuple[PlannedScales, ...]
    overlaps: tuple[tuple[str, str, datetime, datetime], ...] = field(default=())

    @property
    def rows(self) -> int:
        """Rows that are still to be taken."""
        return sum(file.scan.rows for file in self.files if not file.is_done)

    @property
    def estimated_s(self) -> float:
        """Seconds that it may take on a native server, verification included."""
        return self.rows / ROWS_PER_S

    @property
    def estimated_bytes(self) -> int:
        """Bytes that the database may grow by, until its chunks are compressed."""
        waiting = [file for file in self.files if not file.is_done]
        return sum(file.scan.rows * BYTES_PER_ROW[file.found.named.kind] for file in waiting)

    def lines(self) -> Iterable[str]:
        """Return the plan as text, a line a fact."""
        yield f"{self.folder}: {len(self.files)} files, {self.rows:,} rows to take"
        for file in self.files:
            yield _line(file)
            yield from (
                f"    gap: nothing from {a:%F %T} to {b:%F %T}" for a, b in file.scan.longest_gaps[:3]
            )
        for one, other, start, end in self.overlaps:
            yield f"overlap: {one} and {other} from {start:%F %T} to {end:%F %T}"
        yield from (_scale_line(scales) for scales in self.scales)
        yield from (f"not understood: {refused.name}: {refused.reason}" for refused in self.not_understood)
        yield f"about {self.estimated_s:,.0f} s, and {self.estimated_bytes / 1e6:,.0f} MB until chunks are compressed"


def series_name(found: FoundFile) -> SeriesName:
    """Return what a file is a part of."""
    named = found.named
    return named.kind, named.symbol, 0 if named.timeframe is None else named.timeframe.value


def in_order(scanned: Iterable[tuple[FoundFile, FileScan]]) -> list[tuple[FoundFile, FileScan]]:
    """Return files in the order in which they are migrated: of one series the one that ends last comes first.

    A file that was written while its last candle was still forming then meets the complete candle, stored from another file.
    """
    return sorted(scanned, key=lambda pair: (series_name(pair[0]), -_end(pair[1]), pair[0].name))


def overlaps_of(files: Sequence[PlannedFile]) -> tuple[tuple[str, str, datetime, datetime], ...]:
    """Return which files of one series have ranges that overlap."""
    found = []
    for place, one in enumerate(files):
        for other in files[place + 1 :]:
            if one.series != other.series or one.scan.first is None or other.scan.first is None:
                continue
            start = max(one.scan.first, other.scan.first)
            end = min(one.scan.last or start, other.scan.last or start)
            if start <= end:
                found.append((one.found.name, other.found.name, start, end))
    return tuple(found)


def scan_all(
    files: Iterable[FoundFile], naive_zone: tzinfo, rows_per_piece: int
) -> tuple[list[tuple[FoundFile, FileScan]], tuple[NotUnderstood, ...]]:
    """Look at the times of files; returns them in the order of migration, and those whose times cannot be read."""
    scanned, refused = [], []
    for found in files:
        try:
            scanned.append((found, scan_file(found, naive_zone, rows_per_piece)))
        except UNREADABLE_FILE as exc:
            refused.append(NotUnderstood(found.name, f"its times cannot be read: {one_line(exc)}"))
    return in_order(scanned), tuple(refused)


def needed_scales(
    scanned: Iterable[tuple[FoundFile, FileScan]], naive_zone: tzinfo, rows_per_piece: int
) -> dict[str, NeededScales]:
    """Read files, and return by symbol which scales they need; a damaged file needs none, it will not be taken."""
    needed: dict[str, NeededScales] = {}
    for found, scan in scanned:
        scales = NeededScales()
        try:
            for _, raw in read_pieces(found, scan, set(range(scan.pieces)), naive_zone, rows_per_piece):
                scales.add(KINDS[found.named.kind], raw)
        except UNREADABLE_FILE:
            continue
        needed.setdefault(found.named.symbol, NeededScales()).join(scales)
    return needed


def _end(scan: FileScan) -> float:
    return 0.0 if scan.last is None else scan.last.timestamp()


def _line(file: PlannedFile) -> str:
    named, scan = file.found.named, file.scan
    label = named.kind if named.timeframe is None else named.timeframe.label
    notes = [
        *(["done before"] if file.is_done else []),
        *([f"{file.stored:,} rows stored in its range"] if file.stored else []),
        *(["not in order"] if not scan.is_ordered else []),
        *([f"{scan.repeats:,} times repeated"] if scan.repeats and named.kind != "trade" else []),
        *([f"{scan.missing:,} candles missing"] if scan.missing else []),
        *(
            [f"32-bit floats of seven digits in {' '.join(narrow)}"]
            if (narrow := file.found.layout.narrow)
            else []
        ),
    ]
    span = "no time" if scan.first is None else f"{scan.first:%F %T} to {scan.last:%F %T}"
    text = f"  {file.found.name}: {named.symbol} {label}, {scan.rows:,} rows, {span}, {scan.spelling}"
    return ", ".join([text, *notes])


def _scale_line(scales: PlannedScales) -> str:
    needed, there = scales.needed, scales.registered
    text = f"scales of {scales.symbol}: prices need {needed.price} digits, sizes {needed.size}"
    if needed.unfit:
        text += f"; {needed.unfit:,} values fit no scale, their rows will be refused"
    if there is None:
        return f"{text}; it will be registered so"
    text += f"; it has {there.price_scale} and {there.size_scale}"
    if not scales.is_too_small:
        return text
    price, size = max(there.price_scale, needed.price), max(there.size_scale, needed.size)
    return f"{text}: first `datalayer instruments widen {there.symbol} --price-scale {price} --size-scale {size}`"


async def stored_rows(conn: AsyncConnection, found: FoundFile, scan: FileScan) -> int:
    """Return how many rows the database has in the range of a file."""
    kind, named = KINDS[found.named.kind], found.named
    values: dict[str, Any] = {"symbol": named.symbol, "first": scan.first, "last": scan.last}
    condition = ""
    if named.timeframe is not None:
        condition, values["timeframe"] = "AND r.timeframe = :timeframe", named.timeframe.value
    statement = text(_STORED.format(table=kind.target.table, timeframe=condition))
    with driver_errors_translated():
        return int(await conn.scalar(statement, values) or 0)
