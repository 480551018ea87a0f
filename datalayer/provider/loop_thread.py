"""One event loop in a thread of its own, for code that blocks."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from datalayer.errors import ForkedProcessError, ProviderClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for any number of threads, and ends with `close()` or the interpreter.

    Args:
        name: of the thread.
        closes: closes what lives in the loop. Called by `close`, or when the interpreter ends and nobody has closed it.
    """

    def __init__(self, name: str, closes: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        # A daemon: another thread would be waited for at the end of the interpreter before anybody could tell it to end.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._closes = closes
        self._closing = threading.Lock()
        self._is_closed = False
        atexit.register(self.close)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, or belongs to the process that this one was forked from."""
        return self._is_closed or os.getpid() != self._pid

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns in the loop; called in any other thread. Interrupted, it is cancelled.

        Raises:
            ForkedProcessError: this is a child of the process that began it; its loop is not here.
            ProviderClosedError: it is closed, or being closed; or this is the loop's own thread.
        """
        try:
            self._check()
            with self._closing:  # what is handed over before the loop is told to end is cancelled in order
                self._refuse_if_closed()
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except CancelledError:
            msg = "the provider was closed meanwhile"
            raise ProviderClosedError(msg) from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close what lives in the loop, cancel what still runs, and end the thread. May be repeated; a fork closes nothing.

        Raises:
            ProviderClosedError: this is the loop's own thread, which cannot wait for itself.
        """
        if os.getpid() != self._pid:
            return
        self._refuse_own_thread()
        try:
            with suppress(ProviderClosedError):  # by another thread meanwhile
                self.run(self._closes())
        finally:
            self._end()

    def _end(self) -> None:
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                atexit.unregister(self.close)
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def _check(self) -> None:
        if os.getpid() != self._pid:
            msg = (
                f"this provider was opened by process {self._pid}, of which this one is a fork; its connections and its "
                "thread are not here: open a provider in each process, after forking"
            )
            raise ForkedProcessError(msg)
        self._refuse_own_thread()

    def _refuse_own_thread(self) -> None:
        if threading.current_thread() is self._thread:
            msg = "a blocking call was made in the provider's own event loop, which would wait for itself"
            raise ProviderClosedError(msg)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            msg = "the provider is closed; open a new one"
            raise ProviderClosedError(msg)
