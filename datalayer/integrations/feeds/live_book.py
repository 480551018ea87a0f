"""The order book of one symbol on one connection: snapshots are asked for when its sequence rules want one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from datalayer.errors import ExchangeError, InvalidInputError
from datalayer.integrations.depth import Applied, CrossedBook, Ignored, SequenceGap

if TYPE_CHECKING:
    from datalayer.integrations.depth import BookEvent, BookRules, DepthDiff, DepthSnapshot
    from datalayer.integrations.feeds.exchange import Stream
    from datalayer.integrations.feeds.router import Router
    from datalayer.integrations.feeds.session import Session


class LiveBook:
    """Follows the updates of a book, and hands samples of it over.

    Args:
        stream: its subscription.
        router: takes the samples.
        session: the connection that it is of.
    """

    def __init__(self, stream: Stream, router: Router, session: Session) -> None:
        self._stream, self._router, self._session = stream, router, session
        self._book = router.exchange.new_book()
        self._request = router.exchange.book_request(stream.symbol)
        self._sampling = router.states[stream.symbol].books
        self._fetching: asyncio.Task[None] | None = None
        self._next: BookRules | None = None
        self._renew_after_s = 0.0

    @property
    def is_valid(self) -> bool:
        """Whether it is complete."""
        return self._book.is_valid

    def apply_snapshot(self, snapshot: DepthSnapshot) -> None:
        """Start from a snapshot."""
        self._note(self._book.apply_snapshot(snapshot))

    async def apply_diff(self, diff: DepthDiff, frame: str | bytes) -> None:
        """Apply changed levels; a sample of the book may be due then."""
        event = self._book.apply_diff(diff)
        if self._next is not None:
            if isinstance(self._next.apply_diff(diff), Applied):
                self._book, self._next = self._next, None
            elif not self._next.is_valid:
                self._fetch()
        self._note(event)
        await self._router.book_changed(self._stream.symbol, diff.event_time_us, event, self._book, frame)

    def end(self) -> None:
        """Note that the connection has ended."""
        if self._fetching is not None:
            self._fetching.cancel()
        self._sampling.leave(self, "reconnect")

    def _note(self, event: BookEvent) -> None:
        match event:
            case Applied():
                self._sampling.join(self)
                self._renew()
            case SequenceGap() | CrossedBook():
                self._next = None
                self._sampling.leave(self, "sequence")
                kind = "sequence_gap" if isinstance(event, SequenceGap) else "crossed_book"
                self._router.faults.note(kind, f"{self._stream.symbol}: {event}")
                self._fetch()
            case Ignored.OLD:
                self._router.faults.counts["repeated"] += 1
            case Ignored.WAITING if self._request is not None:
                self._fetch()

    def _renew(self) -> None:
        """Prepare a successor where the market has moved to levels that the snapshot did not show."""
        settings, now_s = self._router.settings, asyncio.get_running_loop().time()
        if self._next is not None or now_s < self._renew_after_s or self._book.reaches(settings.book_levels):
            return
        self._renew_after_s = now_s + settings.handover_s
        self._next = self._router.exchange.new_book()

    def _fetch(self) -> None:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetched())

    async def _fetched(self) -> None:
        """Ask for snapshots until one fits: one that is older than the diffs that wait is no use, the next may be newer."""
        router, settings = self._router, self._router.settings
        wait_s = settings.retry_wait_initial_s
        while not (self._next or self._book).is_valid:
            if self._request is None:
                await self._session.resubscribe(self._stream)
                await asyncio.sleep(settings.handover_s)
                continue
            try:
                snapshot = router.exchange.parse_book(await router.rest.get(self._request))
                if self._next is None:
                    self.apply_snapshot(snapshot)
                else:
                    self._next.apply_snapshot(snapshot)
            except (ExchangeError, InvalidInputError) as exc:
                router.faults.note("failed", f"{self._stream.symbol}: order book: {exc}")
            if not (self._next or self._book).is_valid:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, settings.retry_wait_max_s)
