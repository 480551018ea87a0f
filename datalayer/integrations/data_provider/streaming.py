"""The feed of the drop-in: from `start` to `stop` in one task of the provider's loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datalayer.sync
    from datalayer.integrations.data_provider.ports import StartFeed

logger = logging.getLogger(__name__)


class Streaming:
    """Runs a feed. Safe from any number of threads.

    Args:
        market: in whose event loop it runs.
        feed: what runs.
    """

    def __init__(self, market: datalayer.sync.UnifiedDataProvider, feed: StartFeed) -> None:
        self._market = market
        self._feed = feed
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has neither been stopped nor failed."""
        task = self._task
        return task is not None and not task.done()

    def start(self) -> bool:
        """Return when the feed runs; False: it did already. What keeps it from starting is raised here."""
        with self._lock:
            if self.is_running:
                return False
            self._market.run(self._start())
            return True

    def stop(self) -> bool:
        """Return when the feed has ended and what it brought is stored; False: it did not run.

        What went wrong in ending it is raised here.
        """
        with self._lock:
            if not self.is_running:
                return False
            self._market.run(self._stop())
            return True

    async def _start(self) -> None:
        self._stopping = asyncio.Event()
        runs: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(runs))
        self._task.add_done_callback(_log_failure)
        await asyncio.wait([self._task, runs], return_when=asyncio.FIRST_COMPLETED)
        if not runs.done():
            await self._task

    async def _stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self, runs: asyncio.Future[None]) -> None:
        # One task enters and leaves it: task groups and cancel scopes inside of it insist on that.
        async with self._feed(self._market.asynchronous):
            runs.set_result(None)
            await self._stopping.wait()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the feed has ended", exc_info=error)
