"""The bounded buffer of one kind of events, and where those are that it has no room for."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from datalayer.errors import IngestionClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from datalayer.ingestion.events import EventKind


class Lane:
    """Events of one kind in the order of their numbers: first those in memory, then those that are on disk only.

    As soon as one event finds no room, it and all later ones stay on disk until they are read back, so that the order holds.
    All numbers count from one, over all runs of the program; `taken` are with the writer, `settled` are done.

    Args:
        kind: of the events.
        capacity: most events in memory.
        flush_rows: from how many on they are due at once.
        flush_after_s: from what age on they are due.
        read: reads events back: kind, number after which, at most how many. None: nothing is on disk.
        may_spill: whether there is always room, on disk.
    """

    def __init__(
        self,
        kind: EventKind,
        *,
        capacity: int,
        flush_rows: int,
        flush_after_s: float,
        read: Callable[[EventKind, int, int], Awaitable[list[bytes]]] | None,
        may_spill: bool,
    ) -> None:
        self.kind = kind
        # A full buffer is due, too: those who wait for room would wait for the age of what is in it.
        self._capacity, self._flush_rows = capacity, min(flush_rows, capacity)
        self._flush_after_s = flush_after_s
        self._read = read
        self._may_spill = may_spill and read is not None
        self._memory: deque[bytes] = deque()
        self._ages: deque[tuple[int, float]] = deque()
        self._urgent_until = 0
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.accepted = self.taken = self.settled = 0
        self.entering = 0  # events on their way in, which `add` will take
        self._is_closed = False

    def resume(self, settled: int, accepted: int) -> None:
        """Begin with what the outbox still holds."""
        self.taken = self.settled = settled
        self.accepted = accepted
        self._wake.set()

    @property
    def buffered(self) -> int:
        """Events in memory, those with the writer included."""
        return len(self._memory) + self.taken - self.settled

    @property
    def spilled(self) -> int:
        """Events that are on disk only."""
        return self.accepted - self.taken - len(self._memory)

    @property
    def has_room(self) -> bool:
        """Whether another event may be handed in."""
        return self._may_spill or self.accepted - self.taken + self.entering < self._capacity

    @property
    def age_s(self) -> float:
        """Seconds since the oldest event in memory was accepted that nobody writes yet; -inf for none."""
        return self._loop.time() - self._ages[0][1] if self._ages else -math.inf

    async def room(self) -> None:
        """Wait until another event may be handed in.

        Raises:
            IngestionClosedError: nobody takes events out any more.
        """
        while not self.has_room:
            await self._until_moved()

    def add(self, first: int, payloads: Sequence[bytes]) -> None:
        """Take events that are durable, numbered from `first` on; they follow those taken before."""
        if first != self.accepted + 1:
            msg = f"{self.kind.label} events {first} follow {self.accepted}"
            raise RuntimeError(msg)
        was_waiting = self.accepted - self.taken
        room = self._capacity - len(self._memory) if self._read is not None else len(payloads)
        if not self.spilled and room > 0:
            self._memory.extend(payloads if room >= len(payloads) else payloads[:room])
            self._ages.append((self.taken + len(self._memory), self._loop.time()))
        self.accepted += len(payloads)
        self.entering -= len(payloads)
        if not was_waiting or self._is_due_at_once:
            self._wake.set()

    def hurry(self) -> None:
        """Make everything that was accepted until now due at once."""
        self._urgent_until = self.accepted
        self._wake.set()

    async def take(self, limit: int) -> list[bytes]:
        """Wait until events are due, and return the oldest, at most `limit` of them."""
        while not (self._is_due_at_once or self.age_s >= self._flush_after_s):
            self._wake.clear()
            left_s = self._flush_after_s - self.age_s if self._ages else None
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
        if not self._memory and self._read is not None:
            found = await self._read(self.kind, self.taken, limit)
        else:
            found = list(islice(self._memory, limit))
            for _ in found:
                self._memory.popleft()
        self.taken += len(found)
        while self._ages and self._ages[0][0] <= self.taken:
            self._ages.popleft()
        self._moved.set()
        return found

    def settle(self) -> None:
        """Note that all events that were taken are done with."""
        self.settled = self.taken
        self._moved.set()

    async def until_settled(self, number: int) -> None:
        """Wait until all events up to a number are done with.

        Raises:
            IngestionClosedError: nobody takes events out any more.
        """
        while self.settled < number:
            await self._until_moved()

    def close(self) -> None:
        """Let nobody wait any more."""
        self._is_closed = True
        self._moved.set()

    async def _until_moved(self) -> None:
        if self._is_closed:
            msg = f"the pipeline is closed; {self.kind.label} events wait for the next start"
            raise IngestionClosedError(msg)
        self._moved.clear()
        await self._moved.wait()

    @property
    def _is_due_at_once(self) -> bool:
        waiting = self.accepted - self.taken
        return waiting > 0 and (
            waiting >= self._flush_rows or self.spilled > 0 or self.taken < self._urgent_until
        )
