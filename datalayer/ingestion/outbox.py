"""The durable outbox: an event is in it before the call that handed it in returns."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from datalayer.errors import OutboxError, OutboxFullError
from datalayer.ingestion.outbox_file import OutboxFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from datalayer.ingestion.events import EventKind

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_MAX_BYTES: Final = 4 * 2**30
# Bounds the write-ahead log, and with it how long a checkpoint keeps callers waiting.
CHECKPOINT_BYTES: Final = 4 * 2**20
# Larger groups are written by the thread: a megabyte holds the event loop for a few milliseconds.
_INLINE_BYTES: Final = 2**20
_RETRY_S: Final = (0.05, 1.0)


class OnDurable(Protocol):
    """Takes events that are in the outbox now."""

    def __call__(self, kind: EventKind, first: int, payloads: list[bytes]) -> None:
        """Take events numbered from `first` on."""


class OnAlarm(Protocol):
    """Is told of what somebody has to look after."""

    def __call__(self, message: str, *, active: bool) -> None:
        """Take what is wrong, or (`active=False`) what is right again."""


@dataclass(slots=True)
class _Group:
    """Events that become durable together, and those who wait for it."""

    payloads: dict[EventKind, list[bytes]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    size_bytes: int = 0

    def extend(self, later: _Group) -> None:
        for kind, payloads in later.payloads.items():
            self.payloads.setdefault(kind, []).extend(payloads)
        self.labels |= later.labels
        self.waiters += later.waiters
        self.size_bytes += later.size_bytes


class Outbox:
    """Keeps events on disk until the database has them.

    Events that are handed in during one turn of the event loop share one commit. Without `fsync` it is a write to the
    operating system, done at once in the event loop (10 to 50 µs): the events survive the death of the process. With
    `fsync` they survive a loss of power too; then a thread commits, and what comes meanwhile shares the next commit.
    Checkpoints, reading back and deleting happen in the thread.

    A file that may not grow any more, or a full disk, keeps those waiting who hand events in, raises the alarm once, and is
    tried again until there is room. Nothing is dropped.

    Args:
        path: of the file.
        max_bytes: how large the file may become.
        fsync: see above.
        on_durable: called for each kind of a group that is committed, before those who wait for it go on.
        on_alarm: called when there is no more room, and again when there is.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        fsync: bool = False,
        on_durable: OnDurable,
        on_alarm: OnAlarm | None = None,
    ) -> None:
        self._path, self._max_bytes, self._fsync = path, max_bytes, fsync
        self._on_durable = on_durable
        self._on_alarm = on_alarm
        self._group = _Group()
        self._in_flight: _Group | None = None
        self._scheduled: asyncio.Handle | None = None
        self._acknowledged: dict[EventKind, int] = {}
        self._in_thread = 0
        self._unchecked_bytes = 0
        self._to_purge = False
        self._full = False
        self._missed = False
        self._retry_s = _RETRY_S[0]
        self._maintenance: asyncio.Task[None] | None = None
        self.commits = 0

    async def open(self) -> Self:
        """Open the file.

        Raises:
            OutboxInUseError: somebody has it open.
            OutboxCorruptError: it is damaged.
            OutboxError: it is something else.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "outbox")
        try:
            self._file = await self._run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self._labels = self._file.labels()
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._file.size_bytes

    @property
    def is_full(self) -> bool:
        """Whether it cannot grow at the moment."""
        return self._full

    def last(self, kind: EventKind) -> int:
        """Return the number of the last durable event of a kind."""
        return self._file.last(kind)

    def acknowledged(self, kind: EventKind) -> int:
        """Return the number up to which the events of a kind are in the database, as far as the file says."""
        return self._file.acknowledged(kind)

    def labels(self) -> dict[str, int]:
        """Return all labels with their numbers."""
        return dict(self._labels)

    def label(self, text: str) -> int:
        """Return the number of a label, which is durable no later than the next event."""
        number = self._labels.get(text)
        if number is None:
            number = self._labels[text] = len(self._labels) + 1
            self._group.labels[text] = number
        return number

    def put(self, kind: EventKind, payload: bytes) -> None:
        """Add an event to the group under way; `durable` tells when it is safe."""
        group = self._group
        payloads = group.payloads.get(kind)
        if payloads is None:
            group.payloads[kind] = [payload]
        else:
            payloads.append(payload)
        group.size_bytes += len(payload)
        if self._scheduled is None:
            self._schedule()

    def durable(self) -> asyncio.Future[None]:
        """Return a future that is done when the events that were put until now are durable. Await it at once."""
        waiter = self._loop.create_future()
        group = self._group if self._group.payloads else self._in_flight
        if group is None:
            waiter.set_result(None)
        else:
            group.waiters.append(waiter)
        return waiter

    def acknowledge(self, kind: EventKind, seq: int) -> None:
        """Note that the events of a kind are in the database up to a number."""
        self._acknowledged[kind] = max(seq, self._acknowledged.get(kind, 0))
        self._to_purge = True
        if self._in_thread:
            self._schedule()
        else:
            self._write_acknowledged()
        if self._full:
            self._retry_s = _RETRY_S[0]
            self._maintain()

    async def read(self, kind: EventKind, after: int, limit: int) -> list[bytes]:
        """Return the payloads of the durable events from `after + 1` on, at most `limit`, in order.

        Raises:
            OutboxCorruptError: they are damaged or missing.
        """
        return await self._run(lambda: self._file.read(kind, after, limit))

    async def close(self) -> None:
        """Make everything durable that can be, and close the file.

        Cancelled, it closes the file all the same; those who still wait for their events get an `OutboxError`.
        """
        try:
            await self._run(self._finish)
        finally:
            self._thread.shutdown(wait=True)
            if self._scheduled is not None:
                self._scheduled.cancel()
            if self._maintenance is not None:
                self._maintenance.cancel()
            self._commit_the_rest()
            self._file.close()

    def _open(self) -> OutboxFile:
        return OutboxFile(self._path, max_bytes=self._max_bytes, fsync=self._fsync)

    def _finish(self) -> None:
        try:
            self._file.purge()
            self._file.checkpoint()
        except OutboxFullError as exc:
            logger.warning("%s; it is tidied up at the next start", exc)

    def _commit_the_rest(self) -> None:
        group, self._group = self._group, _Group()
        try:
            self._file.append(group.payloads, group.labels)
        except OutboxError as exc:
            for waiter in group.waiters:
                if not waiter.done():
                    waiter.set_exception(exc)
        else:
            self._committed(group)
        self._write_acknowledged()

    def _schedule(self, delay_s: float = 0.0) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
        if delay_s:
            self._scheduled = self._loop.call_later(delay_s, self._commit)
        else:
            self._scheduled = self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        self._scheduled = None
        if self._in_thread:
            self._missed = True  # `_left_thread` schedules it again
            return
        group = self._group
        if self._acknowledged:
            self._write_acknowledged()
        if not group.payloads:
            return
        self._group, self._in_flight = _Group(), group
        if self._fsync or group.size_bytes > _INLINE_BYTES:
            self._begin_in_thread(lambda: self._file.append(group.payloads, group.labels)).add_done_callback(
                lambda done: self._settle(group, done.exception(), 0 if done.exception() else done.result())
            )
            return
        try:
            written = self._file.append(group.payloads, group.labels)
        except OutboxError as exc:
            self._settle(group, exc, 0)
        else:
            self._settle(group, None, written)

    def _settle(self, group: _Group, error: BaseException | None, written_bytes: int) -> None:
        self._in_flight = None
        if error is None:
            self._unchecked_bytes += written_bytes
            self._committed(group)
            if self._unchecked_bytes >= CHECKPOINT_BYTES:
                self._maintain()
            return
        group.extend(self._group)
        self._group = group
        self._refused(error)

    def _committed(self, group: _Group) -> None:
        self.commits += 1
        if self._full:
            self._full, self._retry_s = False, _RETRY_S[0]
            self._alarm(f"outbox {self._path}: there is room again", active=False)
        for kind, payloads in group.payloads.items():
            self._on_durable(kind, self._file.last(kind) - len(payloads) + 1, payloads)
        for waiter in group.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _refused(self, error: BaseException) -> None:
        if not self._full:
            self._full = True
            self._alarm(f"{error}; events are waiting, and tried again until there is room", active=True)
        self._schedule(self._retry_s)
        self._retry_s = min(2 * self._retry_s, _RETRY_S[1])
        self._maintain()

    def _alarm(self, message: str, *, active: bool) -> None:
        logger.log(logging.ERROR if active else logging.WARNING, "%s", message)
        if self._on_alarm is not None:
            self._on_alarm(message, active=active)

    def _write_acknowledged(self) -> None:
        if not self._acknowledged:
            return
        try:
            self._file.acknowledge(self._acknowledged)
            self._acknowledged = {}
        except OutboxError as exc:
            # Not noted, they are only stored a second time after a restart, which changes nothing.
            logger.warning("%s; acknowledgements are noted later", exc)

    def _maintain(self) -> None:
        if self._maintenance is None or self._maintenance.done():
            self._maintenance = self._loop.create_task(self._tidy_up())

    async def _tidy_up(self) -> None:
        """Delete what is needed no more and begin the log anew; commits wait for one step of it at most."""
        try:
            while self._to_purge:
                self._to_purge = await self._run(self._file.purge)
            self._unchecked_bytes = 0
            await self._run(self._file.checkpoint)
        except OutboxError as exc:
            logger.warning("%s; tidying up is tried again later", exc)

    async def _run(self, work: Callable[[], T]) -> T:
        # Shielded: cancelled or not, the thread goes on with it, and commits have to know.
        return await asyncio.shield(self._begin_in_thread(work))

    def _begin_in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        self._in_thread += 1
        future = self._loop.run_in_executor(self._thread, work)
        future.add_done_callback(self._left_thread)
        return future

    def _left_thread(self, _: object) -> None:
        self._in_thread -= 1
        if not self._in_thread and self._missed:
            self._missed = False
            self._schedule()
