"""What stands in for the outbox where there is none: events are accepted as soon as they are in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datalayer.ingestion.events import EventKind
    from datalayer.ingestion.outbox import OnDurable


class NoOutbox:
    """Hands events on at the end of the turn of the event loop, so that callers take turns here too.

    Args:
        on_durable: called for each event.
    """

    is_full = False
    size_bytes = 0
    commits = 0

    def __init__(self, on_durable: OnDurable) -> None:
        self._on_durable = on_durable
        self._labels: dict[str, int] = {}
        self._last: dict[EventKind, int] = {}
        self._turn: asyncio.Future[None] | None = None

    def last(self, kind: EventKind) -> int:
        """Return the number of the last event of a kind."""
        return self._last.get(kind, 0)

    acknowledged = last

    def labels(self) -> dict[str, int]:
        """Return all labels with their numbers."""
        return dict(self._labels)

    def label(self, text: str) -> int:
        """Return the number of a label."""
        return self._labels.setdefault(text, len(self._labels) + 1)

    def put(self, kind: EventKind, payload: bytes) -> None:
        """Hand an event on."""
        number = self._last[kind] = self.last(kind) + 1
        self._on_durable(kind, number, [payload])

    async def durable(self) -> None:
        """Let others have their turn."""
        await asyncio.sleep(0)

    def acknowledge(self, kind: EventKind, seq: int) -> None:
        """Do nothing: nothing is kept."""

    async def close(self) -> None:
        """Do nothing."""
