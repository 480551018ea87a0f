"""The file of the outbox: SQLite in WAL mode, one table a kind, one row a group of events.

A row holds the number of its first event, how many there are, a checksum, and one blob: their lengths as little-endian
unsigned 32-bit integers, then their payloads. `acknowledged` says up to which number the events of a kind are in the
database; rows that are needed no more are deleted later, a few at a time. `labels` numbers the texts that payloads refer to.

The file is locked for as long as it is open (`locking_mode=EXCLUSIVE`), by a lock that dies with the process.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import contextmanager
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Final
from zlib import crc32

from datalayer.errors import OutboxCorruptError, OutboxError, OutboxFullError, OutboxInUseError
from datalayer.ingestion.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FORMAT: Final = 1
APPLICATION_ID: Final = 0x64_6C_6F_62
"""`dlob`, at byte 68 of the file."""

PAGE_BYTES: Final = 4096
_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = struct.Struct(">60xI4xI28x")
_EVENTS_PER_ROW: Final = 1_000
_ROWS_PER_PURGE: Final = 1_000
# Every page of a row that goes is read and written; callers wait meanwhile.
_BYTES_PER_PURGE: Final = 4 * 2**20

_open_files: Final[set[tuple[int, int]]] = set()
"""Device and inode of the files that this process has open: reading a header and closing it would drop their locks."""


class OutboxFile:
    """Groups of events on disk. Not safe from several threads at once; each call is one transaction.

    Args:
        path: of the file; made if it is not there, with its folder.
        max_bytes: how large it may become.
        fsync: whether a group is on the disk itself when `append` returns; else it is with the operating system.

    Raises:
        OutboxInUseError: another process has it open, or this one.
        OutboxCorruptError: it is damaged. Nothing is changed.
        OutboxError: it is something else, or of a newer version. Nothing is changed.
    """

    def __init__(self, path: Path, *, max_bytes: int, fsync: bool) -> None:
        self.path = path.absolute()
        self._identity: tuple[int, int] | None = None
        if not self.path.exists():
            _create(self.path)
        self._identity = _identity_of(self.path)
        _check_header(self.path, self._identity)
        # Writers of this process take turns, but not always in the same thread.
        self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._configure(max_bytes, fsync=fsync)
                self._acknowledged = dict(self._db.execute("SELECT kind, seq FROM acknowledged"))
                self._last = {kind: self._find_last(kind) for kind in EventKind}
        except BaseException:
            self._db.close()
            raise
        _open_files.add(self._identity)

    def _configure(self, max_bytes: int, *, fsync: bool) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        self._db.execute("PRAGMA journal_size_limit = 67108864")
        self._db.execute(f"PRAGMA max_page_count = {max(max_bytes // PAGE_BYTES, 16)}")
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock now, not with the first event
        self._db.execute("COMMIT")

    def last(self, kind: EventKind) -> int:
        """Return the number of the last event of a kind, 0 if there never was one."""
        return self._last[kind]

    def acknowledged(self, kind: EventKind) -> int:
        """Return the number up to which the events of a kind are in the database."""
        return int(self._acknowledged.get(kind, 0))

    def labels(self) -> dict[str, int]:
        """Return all labels with their numbers."""
        with self._translated():
            return {text: number for number, text in self._db.execute("SELECT id, label FROM labels")}

    @property
    def size_bytes(self) -> int:
        """Bytes of the file and of its write-ahead log."""
        parts = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def append(
        self, groups: Mapping[EventKind, Sequence[bytes]], labels: Mapping[str, int] | None = None
    ) -> int:
        """Append events, all or none, and the labels that they refer to.

        Returns:
            Bytes that were written, about.

        Raises:
            OutboxFullError: the file has reached its bound, or the disk is full.
        """
        rows = {kind: list(_rows(self._last[kind] + 1, payloads)) for kind, payloads in groups.items()}
        with self._translated(), self._transaction():
            for text, number in (labels or {}).items():
                self._db.execute("INSERT INTO labels (id, label) VALUES (?, ?)", (number, text))
            for kind, parts in rows.items():
                self._db.executemany(f"INSERT INTO {_table(kind)} VALUES (?, ?, ?, ?)", parts)
        for kind, payloads in groups.items():
            self._last[kind] += len(payloads)
        return sum(len(row[3]) + PAGE_BYTES for parts in rows.values() for row in parts)

    def acknowledge(self, numbers: Mapping[EventKind, int]) -> None:
        """Note up to which numbers events are in the database.

        Raises:
            OutboxFullError: the disk is full.
        """
        with self._translated(), self._transaction():
            for kind, seq in numbers.items():
                self._db.execute("UPDATE acknowledged SET seq = max(seq, ?) WHERE kind = ?", (seq, int(kind)))
        for kind, seq in numbers.items():
            self._acknowledged[kind] = max(self.acknowledged(kind), seq)

    def read(self, kind: EventKind, after: int, limit: int) -> list[bytes]:
        """Return the payloads of the events from `after + 1` on, at most `limit` of them, in order.

        Raises:
            OutboxCorruptError: a group is damaged, or events are missing.
        """
        found: list[bytes] = []
        first = f"(SELECT coalesce(max(seq), 0) FROM {_table(kind)} WHERE seq <= ?)"
        query = f"SELECT seq, count, crc, payload FROM {_table(kind)} WHERE seq >= {first} ORDER BY seq"
        with self._translated():
            cursor = self._db.execute(query, (after + 1,))
            try:
                for seq, count, crc, payload in cursor:
                    expected = after + len(found) + 1
                    if seq > expected or crc32(payload) != crc:
                        raise OutboxCorruptError(
                            self.path, f"{kind.label} events from {expected} on are damaged"
                        )
                    if seq + count > expected:
                        found += _split(payload, count)[expected - seq :]
                    if len(found) >= limit:
                        break
            finally:
                cursor.close()
        if not found and after < self._last[kind]:
            raise OutboxCorruptError(self.path, f"{kind.label} events from {after + 1} on are missing")
        return found[:limit]

    def purge(self) -> bool:
        """Delete some of what is needed no more; return whether there is more of it."""
        with self._translated(), self._transaction():
            return sum(self._purge(kind) for kind in EventKind) > 0

    def _purge(self, kind: EventKind) -> bool:
        done = self.acknowledged(kind)
        query = f"SELECT seq, length(payload) FROM {_table(kind)} WHERE seq <= ? AND seq + count <= ? ORDER BY seq"
        rows = self._db.execute(f"{query} LIMIT {_ROWS_PER_PURGE}", (done, done + 1)).fetchall()
        sizes = accumulate(size for _, size in rows)
        few = sum(1 for _ in takewhile(lambda size: size < _BYTES_PER_PURGE, sizes)) + 1
        if rows:
            self._db.execute(f"DELETE FROM {_table(kind)} WHERE seq <= ?", (rows[:few][-1][0],))
        return len(rows) > few or len(rows) == _ROWS_PER_PURGE

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log to the file, so that the log begins anew."""
        with self._translated():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._db.close()
        if self._identity is not None:
            _open_files.discard(self._identity)
            self._identity = None

    def _find_last(self, kind: EventKind) -> int:
        query = f"SELECT seq + count - 1 FROM {_table(kind)} ORDER BY seq DESC LIMIT 1"
        row = self._db.execute(query).fetchone()
        return max(self.acknowledged(kind), 0 if row is None else row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise _error(self.path, exc) from exc


def _rows(first: int, payloads: Sequence[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    for start in range(0, len(payloads), _EVENTS_PER_ROW):
        part = payloads[start : start + _EVENTS_PER_ROW]
        blob = struct.pack(f"<{len(part)}I", *map(len, part)) + b"".join(part)
        yield first + start, len(part), crc32(blob), blob


def _split(blob: bytes, count: int) -> list[bytes]:
    start, payloads = 4 * count, []
    for length in struct.unpack_from(f"<{count}I", blob):
        payloads.append(blob[start : start + length])
        start += length
    return payloads


def _table(kind: EventKind) -> str:
    return f"{kind.label}_events"


def _create(path: Path) -> None:
    """Make an empty outbox beside the path and move it there, so that there is never a half-made one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    columns = "(seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL)"
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("CREATE TABLE labels (id INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE)")
        db.execute("CREATE TABLE acknowledged (kind INTEGER PRIMARY KEY, seq INTEGER NOT NULL)")
        for kind in EventKind:
            db.execute(f"CREATE TABLE {_table(kind)} {columns}")
            db.execute("INSERT INTO acknowledged VALUES (?, 0)", (int(kind),))
    finally:
        db.close()
    try:
        os.link(fresh, path)  # unlike a rename, never over one that another process made meanwhile
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _identity_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_header(path: Path, identity: tuple[int, int]) -> None:
    if identity in _open_files:
        raise OutboxInUseError(path, "is open in this process already; share its pipeline")
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        raise OutboxError(
            path, "is no outbox, or its beginning is destroyed; nothing was changed. Name another file"
        )
    version, application = _HEADER.unpack(header)
    if application != APPLICATION_ID:
        raise OutboxError(path, "is a database of something else; nothing was changed. Name another file")
    if version != FORMAT:
        raise OutboxError(path, f"is of format {version}, this version of the library knows {FORMAT}")


def _error(path: Path, error: sqlite3.Error) -> OutboxError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return OutboxInUseError(path, "is open in another process; an outbox belongs to one at a time")
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return OutboxFullError(path, f"cannot grow: {error}")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return OutboxCorruptError(path, str(error))
    return OutboxError(path, str(error))
