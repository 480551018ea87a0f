"""A file of the cache: looked through once, then read in pieces of bounded size, ascending by time."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datalayer.rollout.source_times import micros_of, time_spelling, utc_times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from pathlib import Path

    from numpy.typing import NDArray

    from datalayer.rollout.discovery import FoundFile

ROWS_PER_PIECE: Final = 100_000
_BLOCK_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class FileScan:
    """What a look at the times of a file told.

    Attributes:
        sha256: of its bytes.
        rows: how many it has.
        first: first time, UTC; None: no row has one.
        last: last time, UTC.
        spelling: how times are written.
        is_ordered: whether times never fall, and every row has one.
        repeats: rows whose time another row has too.
        longest_gaps: intervals between neighbouring times that are longer than a candle, `(after, before)`, the longest first.
        missing: candles that lie in such intervals; 0 for other records.
        cuts: first time of each piece but the first, in microseconds since 1970, int64, ascending.
    """

    sha256: str
    rows: int
    first: datetime | None
    last: datetime | None
    spelling: str
    is_ordered: bool
    repeats: int
    longest_gaps: tuple[tuple[datetime, datetime], ...]
    missing: int
    cuts: NDArray[np.int64]

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return len(self.cuts) + 1


def scan_file(found: FoundFile, naive_zone: tzinfo, rows_per_piece: int = ROWS_PER_PIECE) -> FileScan:
    """Look at the times of a file; holds eight bytes a row in memory.

    Args:
        found: the file.
        naive_zone: what timezone naive times are in.
        rows_per_piece: rows of a piece; more where many have the same time.

    Raises:
        InvalidInputError: its times cannot be read.
        OSError: nor can the file.
    """
    times, spellings = [], dict[str, None]()
    for batch in _batches(found.path, [found.layout.time], rows_per_piece):
        column = batch[found.layout.time]
        spellings[time_spelling(column)] = None
        times.append(micros_of(utc_times(column, naive_zone)))
    every = np.concatenate(times)
    known = every[every != np.iinfo(np.int64).min]
    ordered = np.sort(known, kind="stable")
    steps = np.diff(ordered)
    step_us = 0 if found.named.timeframe is None else found.named.timeframe.value * 1_000_000
    gaps = np.flatnonzero(steps > step_us) if step_us else np.empty(0, np.int64)
    longest = gaps[np.argsort(-steps[gaps], kind="stable")][:_SHOWN_GAPS]
    return FileScan(
        sha256=sha256_of(found.path),
        rows=len(every),
        first=_moment(ordered[0]) if len(ordered) else None,
        last=_moment(ordered[-1]) if len(ordered) else None,
        spelling=" and ".join(spellings),
        is_ordered=len(known) == len(every) and bool((every[1:] >= every[:-1]).all()),
        repeats=int((steps == 0).sum()),
        longest_gaps=tuple((_moment(ordered[n]), _moment(ordered[n + 1])) for n in longest),
        missing=int((steps[gaps] // step_us - 1).sum()) if step_us else 0,
        cuts=np.unique(ordered[rows_per_piece::rows_per_piece]),
    )


_SHOWN_GAPS: Final = 20


def read_pieces(
    found: FoundFile,
    scan: FileScan,
    wanted: set[int],
    naive_zone: tzinfo,
    rows_per_piece: int = ROWS_PER_PIECE,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield pieces by number, each with all rows of its times, as validation takes them.

    Rows of one time are always in the same piece, and rows without a time are in the first. A file in order is read once; of
    one that is not, each piece is gathered from all of it, so that memory stays bounded.

    Args:
        found: the file.
        scan: as `scan_file` told.
        wanted: numbers of pieces.
        naive_zone: what timezone naive times are in.
        rows_per_piece: as for the scan.
    """
    gathered = _in_order if scan.is_ordered else _out_of_order
    for number, table in gathered(found, scan, wanted, naive_zone, rows_per_piece):
        yield number, found.layout.raw(table, naive_zone)


def snapshot_of(
    found: FoundFile, scan: FileScan, folder: Path, naive_zone: tzinfo, rows_per_piece: int = ROWS_PER_PIECE
) -> tuple[FoundFile, FileScan]:
    """Return a copy of a file, with what it holds: somebody may replace the file while it is migrated.

    Args:
        found: the file.
        scan: what it held when it was looked at.
        folder: where the copy goes.
        naive_zone: as for the scan.
        rows_per_piece: as for the scan.

    Raises:
        InvalidInputError: it was replaced, and its times cannot be read now.
        OSError: it cannot be read, or there is no room for the copy.
    """
    copied = copy_of(found, folder)
    is_same = sha256_of(copied.path) == scan.sha256
    return copied, scan if is_same else scan_file(copied, naive_zone, rows_per_piece)


def copy_of(found: FoundFile, folder: Path) -> FoundFile:
    """Return a copy of a file, with its own size and time of writing.

    Raises:
        OSError: it cannot be read, or there is no room for the copy.
    """
    path = folder / "snapshot.parquet"
    shutil.copy2(found.path, path)
    status = path.stat()
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return replace(found, path=path, size_bytes=status.st_size, modified_at=modified)


def sha256_of(path: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _in_order(
    found: FoundFile, scan: FileScan, wanted: set[int], zone: tzinfo, rows: int
) -> Iterator[tuple[int, pa.Table]]:
    waiting: list[pa.Table] = []
    number = 0
    for batch in _batches(found.path, found.layout.needed, rows):
        pieces = _piece_numbers(batch[found.layout.time], scan, zone)
        # Times never fall, so neither do the numbers: a higher one ends the piece before.
        for piece in np.unique(pieces).tolist():
            if piece != number:
                yield from _emitted(number, waiting, wanted)
                waiting, number = [], piece
            begin, end = np.searchsorted(pieces, [piece, piece + 1]).tolist()
            waiting.append(batch.slice(begin, end - begin))
    yield from _emitted(number, waiting, wanted)


def _out_of_order(
    found: FoundFile, scan: FileScan, wanted: set[int], zone: tzinfo, rows: int
) -> Iterator[tuple[int, pa.Table]]:
    for number in sorted(wanted):
        parts = []
        for batch in _batches(found.path, found.layout.needed, rows):
            mine = _piece_numbers(batch[found.layout.time], scan, zone) == number
            parts.append(batch.filter(pa.array(mine)))
        yield from _emitted(number, parts, wanted)


def _emitted(number: int, parts: list[pa.Table], wanted: set[int]) -> Iterator[tuple[int, pa.Table]]:
    if number in wanted and parts:
        yield number, pa.concat_tables(parts)


def _piece_numbers(column: Any, scan: FileScan, zone: tzinfo) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.searchsorted(scan.cuts, micros_of(utc_times(column, zone)), side="right")
    return numbers


def _batches(path: Path, columns: list[str], rows: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            yield pa.Table.from_batches([batch])


def _moment(micros: Any) -> datetime:
    return datetime.fromtimestamp(int(micros) // 1_000_000, UTC).replace(microsecond=int(micros) % 1_000_000)
