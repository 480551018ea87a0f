"""What lies in the cache folder: files to migrate, and what cannot be, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from datalayer.errors import InvalidInputError
from datalayer.rollout.patterns import DEFAULT_PATTERNS, Named, named_by
from datalayer.rollout.source_columns import SourceLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from datalayer.domain.timeframe import Timeframe
    from datalayer.rollout.patterns import FilePattern

_MAGIC: Final = b"PAR1"
_LFS: Final = b"version https://git-lfs"
_NO_ROWS: Final = "has no rows"
_PARTIAL: Final = (".tmp", ".part", ".partial", ".crdownload")


UNREADABLE_FILE: Final = (InvalidInputError, OSError, pa.ArrowException)
"""What reading a file raises that is damaged, or not what it seemed; no reason to stop for the others."""


def one_line(error: Exception) -> str:
    """Return what an error says, to go on in a sentence."""
    text = error.hint if isinstance(error, InvalidInputError) else str(error)
    return " ".join(text.split()).rstrip(".")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that can be migrated.

    Attributes:
        path: where it is.
        name: its path below the cache folder, with `/`.
        named: what that says.
        layout: where its columns are.
        size_bytes: its size.
        modified_at: when it was last written, UTC.
    """

    path: Path
    name: str
    named: Named
    layout: SourceLayout
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A file that cannot be migrated.

    Attributes:
        name: its path below the cache folder, with `/`.
        reason: why, and what to do; reads on after the name.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What lies in a cache folder, by path.

    Attributes:
        folder: the cache folder.
        files: what can be migrated.
        not_understood: everything else.
    """

    folder: Path
    files: tuple[FoundFile, ...]
    not_understood: tuple[NotUnderstood, ...]


def discover(folder: Path, patterns: Sequence[FilePattern] = DEFAULT_PATTERNS) -> Discovery:
    """Look through a cache folder and its sub-folders; reads names and footers only. Hidden files are passed over.

    Args:
        folder: the cache folder.
        patterns: what names mean.

    Raises:
        InvalidInputError: it is no folder.
    """
    found: list[FoundFile] = []
    refused: list[NotUnderstood] = []
    for path in _files(_checked(folder)):
        name = path.relative_to(folder).as_posix()
        try:
            found.append(_understood(path, name, patterns))
        except UNREADABLE_FILE as exc:
            refused.append(NotUnderstood(name, one_line(exc)))
    return Discovery(folder, tuple(found), tuple(refused))


def find_candles(
    folder: Path, patterns: Sequence[FilePattern], symbol: str, timeframe: Timeframe
) -> list[FoundFile]:
    """Return the files of one series of candles; opens no others.

    Args:
        folder: the cache folder.
        patterns: what names mean.
        symbol: canonical.
        timeframe: of the candles.

    Raises:
        InvalidInputError: it is no folder.
        OSError: one of the files is damaged, or has no such columns.
    """
    found = []
    for path in _files(_checked(folder)):
        name = path.relative_to(folder).as_posix()
        try:
            named = named_by(name, patterns)
        except InvalidInputError:
            continue
        if (named.kind, named.symbol, named.timeframe) != ("candle", symbol, timeframe):
            continue
        try:
            found.append(_understood(path, name, patterns))
        except FileNotFoundError:  # put away, or replaced, at this very moment
            continue
        except (InvalidInputError, pa.ArrowException) as exc:
            if (reason := one_line(exc)) == _NO_ROWS:
                continue
            msg = f"{name} {reason}"
            raise OSError(msg) from exc
    return found


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise InvalidInputError("folder", str(folder), "is no folder; give the one with the Parquet files")
    return folder


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _understood(path: Path, name: str, patterns: Sequence[FilePattern]) -> FoundFile:
    if path.suffix.lower() in _PARTIAL:
        raise InvalidInputError("path", name, "is unfinished, somebody was writing it")
    if path.suffix.lower() != ".parquet":
        raise InvalidInputError("path", name, "is no Parquet file by its name")
    status = path.stat()
    _check_ends(path, status.st_size)
    with pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            raise InvalidInputError("path", name, _NO_ROWS)
        named = named_by(name, patterns)
        layout = SourceLayout.of(file.schema_arrow, named.kind)
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return FoundFile(path, name, named, layout, status.st_size, modified)


def _check_ends(path: Path, size_bytes: int) -> None:
    with path.open("rb") as file:
        head = file.read(len(_LFS))
        file.seek(max(size_bytes - len(_MAGIC), 0))
        tail = file.read()
    if not head:
        raise InvalidInputError("path", str(path), "is empty: it has no bytes")
    if head == _LFS:
        raise InvalidInputError(
            "path", str(path), "is a Git LFS pointer and no data; fetch it by `git lfs pull`"
        )
    if not head.startswith(_MAGIC):
        raise InvalidInputError("path", str(path), "is no Parquet file: it does not begin as one")
    if tail != _MAGIC or size_bytes <= 3 * len(_MAGIC):
        raise InvalidInputError("path", str(path), "is truncated: its end is missing")
