"""Ending in order when the process is asked to."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)


@contextmanager
def cancelled_by_signals(
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> Iterator[None]:
    """Cancel the running task when a signal comes, so that `async with` blocks inside close what they opened.

        with cancelled_by_signals():
            async with DataIngestionPipeline(database, outbox=path) as pipeline:
                await feed(pipeline)

    The first signal cancels what the block waits for; closing then has its own time limits. A second signal cancels that too:
    the pipeline ends at once, and what is not written stays in its outbox. The block ends with `asyncio.CancelledError`.
    On Unix, in the main thread's event loop.

    Args:
        signals: which ones.

    Raises:
        RuntimeError: there is no running task.
    """
    task = asyncio.current_task()
    if task is None:
        msg = "cancelled_by_signals() needs a running task"
        raise RuntimeError(msg)
    loop = task.get_loop()

    def stop(number: signal.Signals) -> None:
        logger.warning("%s: ending", number.name)
        task.cancel(number.name)

    for number in signals:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
