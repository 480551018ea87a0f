"""Some streams of an exchange, kept alive: connected anew when a connection is lost, and before it gets too old."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from tenacity import RetryCallState, wait_random_exponential

from datalayer.errors import IngestionClosedError
from datalayer.integrations.feeds.session import LOST, Session
from datalayer.integrations.feeds.statistics import ConnectionStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.integrations.feeds.exchange import Stream
    from datalayer.integrations.feeds.router import Router

logger = logging.getLogger(__name__)


class Connection:
    """Keeps a `Session` alive.

    Args:
        router: takes the events.
        streams: what to subscribe to.
    """

    def __init__(self, router: Router, streams: Sequence[Stream]) -> None:
        self._router, self._streams, self._settings = router, streams, router.settings
        self._wait = wait_random_exponential(
            self._settings.retry_wait_initial_s, self._settings.retry_wait_max_s
        )
        self._failures = self._reconnects = self._handovers = 0
        self._last_error: str | None = None
        self._session: Session | None = None

    async def run(self) -> None:
        """Run until cancelled; raises what no connection can be blamed for."""
        session = self._session = Session(self._router, self._streams)
        try:
            while True:
                await self._until_due(session)
                if session.task.done():
                    await self._pause(session)
                    session = Session(self._router, self._streams)
                    self._reconnects += 1
                else:
                    session = await self._replaced(session)
                self._session = session
        finally:
            await session.finish()

    @property
    def statistics(self) -> ConnectionStatistics:
        """How it is."""
        session = self._session
        last = None if session is None else session.last_message_at
        return ConnectionStatistics(
            len(self._streams),
            None if session is None else session.connected_since,
            None if last is None else time.monotonic() - last,
            self._reconnects,
            self._handovers,
            self._last_error,
        )

    async def _until_due(self, session: Session) -> None:
        """Wait until a session has ended, or wants a successor."""
        limit_s = self._router.exchange.limits.connection_age_s
        left_s = (
            None if limit_s is None else max(limit_s * self._settings.connection_age - session.age_s, 0.0)
        )
        leaving = asyncio.create_task(session.leaving.wait())
        try:
            await asyncio.wait([session.task, leaving], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()

    async def _replaced(self, session: Session) -> Session:
        """Return a successor that is complete, after which the session is closed; the session if there is none."""
        successor = Session(self._router, self._streams)
        live = asyncio.create_task(successor.live.wait())
        waited = [successor.task, session.task, live]
        try:
            await asyncio.wait(waited, timeout=self._settings.handover_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await successor.finish()
            raise
        finally:
            live.cancel()
        if successor.live.is_set() or session.task.done():
            await session.finish()
            self._handovers += 1
            return successor
        await successor.finish()
        await self._pause(successor)
        return session

    async def _pause(self, session: Session) -> None:
        """Wait before the next attempt: longer each time, unless the connection had lived."""
        if not session.task.cancelled() and (error := session.task.exception()) is not None:
            if isinstance(error, IngestionClosedError) or not isinstance(error, LOST):
                raise error
            self._last_error = f"{type(error).__name__}: {error}"
        # A connection on which nothing is traded ends by its silence, again and again; that must not make the pauses longer.
        lived_s = min(self._settings.stable_after_s, self._settings.silent_after_s)
        self._failures = 0 if session.age_s >= lived_s else self._failures + 1
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        state.attempt_number = max(self._failures, 1)
        wait_s = self._wait(state)
        self._router.faults.note("disconnected", f"{self._last_error}; again in {wait_s:.3g} s")
        await asyncio.sleep(wait_s)
