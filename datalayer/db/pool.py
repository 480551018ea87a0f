"""The pool: SQLAlchemy's own, which in addition counts, belongs to one event loop, and ends in order."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.pool.base import _ConnectionRecord

from datalayer.errors import DatabaseClosedError, EventLoopError, PoolTimeoutError

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool does now, and what it has done since it was made.

    Attributes:
        max_size: most connections at a time.
        in_use: connections in use now; one that is just being made counts.
        idle: connections at rest in the pool now.
        waiting: callers that wait for a connection now.
        waits: times that a caller had to wait for one, up to now.
        wait_s: seconds that they waited altogether; those that wait now are not counted yet.
        timeouts: waits that ended without a connection.
        opened: connections made.
        reconnects: those of them that replaced an earlier one.
        invalidated: connections thrown away: dead, cancelled in the middle, or on a server that refuses writes.
    """

    max_size: int
    in_use: int
    idle: int
    waiting: int
    waits: int
    wait_s: float
    timeouts: int
    opened: int
    reconnects: int
    invalidated: int


class _Loan(NamedTuple):
    borrower: str
    since: float


class DatabasePool(AsyncAdaptedQueuePool):
    """A pool of one event loop, the one that first uses it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._records: WeakSet[ConnectionPoolEntry] = WeakSet()
        self._loans: dict[ConnectionPoolEntry, _Loan] = {}
        self._returned = asyncio.Event()
        self._closing = self._closed = False
        self._waiting = self._waits = self._timeouts = 0
        self._wait_s = 0.0
        self.opened = self.reconnects = self.invalidated = 0

    @property
    def statistics(self) -> PoolStatistics:
        """A snapshot."""
        return PoolStatistics(
            max_size=self.size(),
            in_use=len(self._loans),
            idle=sum(record.driver_connection is not None for record in self._records if not record.in_use),
            waiting=self._waiting,
            waits=self._waits,
            wait_s=self._wait_s,
            timeouts=self._timeouts,
            opened=self.opened,
            reconnects=self.reconnects,
            invalidated=self.invalidated,
        )

    @property
    def loop_is_closed(self) -> bool:
        """Whether the event loop of the pool has ended before it."""
        return self._loop is not None and self._loop.is_closed()

    def check_loop(self) -> None:
        """Make sure that this is the event loop of the pool; the first one to ask becomes it.

        Raises:
            EventLoopError: it is another one.
        """
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            msg = (
                "this database belongs to the event loop that opened it, and its connections work in no other; "
                "open a DatabaseConnectionManager in each event loop"
            )
            raise EventLoopError(msg)

    async def close_in_order(self, timeout_s: float) -> tuple[str, ...]:
        """Give out nothing more, wait for what is in use, cut off what stays, and close all connections.

        Args:
            timeout_s: seconds to wait for connections in use.

        Returns:
            One line for each connection that was cut off; empty when all came back in time.

        Raises:
            EventLoopError: called in another event loop than the pool's.
        """
        self.check_loop()
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._loans or self._waiting:
                    self._returned.clear()
                    await self._returned.wait()
        self._closed = True
        cut = tuple(self._cut(record, loan) for record, loan in self._loans.items())
        drivers = [driver for record in self._records if (driver := record.driver_connection) is not None]
        # A server that is stopped in its tracks does not say goodbye; the driver hangs up by itself then.
        await asyncio.gather(*(driver.close(timeout=2) for driver in drivers), return_exceptions=True)
        return cut

    def _cut(self, record: ConnectionPoolEntry, loan: _Loan) -> str:
        if record.driver_connection is not None:
            record.driver_connection.terminate()
        return f"{loan.borrower}, {monotonic() - loan.since:.1f} s"

    def _do_get(self) -> ConnectionPoolEntry:
        self.check_loop()
        self._refuse_if(closed=self._closing)
        none_left = self.checkedin() == 0 and self.overflow() >= self._max_overflow
        record = self._wait() if none_left else super()._do_get()
        if self._closed:  # while we waited
            super()._do_return_conn(record)
        self._refuse_if(closed=self._closed)
        self._loans[record] = _Loan(_task_name(), monotonic())
        return record

    def _wait(self) -> ConnectionPoolEntry:
        started = monotonic()
        self._waiting += 1
        self._waits += 1
        try:
            return super()._do_get()
        except exc.TimeoutError as error:
            self._timeouts += 1
            raise PoolTimeoutError(self.checkedout(), self.timeout()) from error
        finally:
            self._waiting -= 1
            self._wait_s += monotonic() - started
            self._returned.set()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._loans.pop(record, None)
        self._returned.set()
        if self._closed:  # it was just being connected when the pool was closed
            record.invalidate()
        super()._do_return_conn(record)

    def _create_connection(self) -> ConnectionPoolEntry:
        # Connected by the one who gets it, not here: if that fails, the record comes back to the pool and wakes the next
        # one who waits. Otherwise those would sleep until their timeout, though there is room.
        record = _ConnectionRecord(self, connect=False)
        self._records.add(record)
        return record

    def _refuse_if(self, *, closed: bool) -> None:
        if closed:
            msg = "the database is closed or being closed"
            raise DatabaseClosedError(msg)


def _task_name() -> str:
    task = asyncio.current_task()
    return "outside of a task" if task is None else task.get_name()
