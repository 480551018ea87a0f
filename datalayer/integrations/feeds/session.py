"""One connection to the socket of an exchange, from its beginning to its end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from datalayer.errors import ExchangeError, IngestionClosedError, InvalidInputError
from datalayer.integrations.feeds.events import BookSnapshot, BookUpdate, GoingAway, Refused, Subscribed
from datalayer.integrations.feeds.exchange import Channel
from datalayer.integrations.feeds.extra import connect, websockets
from datalayer.integrations.feeds.live_book import LiveBook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.integrations.feeds.events import FeedEvent
    from datalayer.integrations.feeds.exchange import Stream
    from datalayer.integrations.feeds.extra import ClientConnection
    from datalayer.integrations.feeds.router import Router

LOST = (OSError, TimeoutError, EOFError, websockets.WebSocketException, ExchangeError)
"""What ends a connection without being a fault of ours."""

_LONGEST_FRAME = 2**26  # whole order books come over some sockets


class Session:
    """Connects, subscribes, and hands over what comes until the connection ends; order books are its own.

    Args:
        router: takes the events.
        streams: what to subscribe to.
    """

    def __init__(self, router: Router, streams: Sequence[Stream]) -> None:
        self._router, self._streams = router, streams
        self._exchange, self._settings = router.exchange, router.settings
        self._books = {
            stream.symbol: LiveBook(stream, router, self)
            for stream in streams
            if stream.channel is Channel.ORDER_BOOK
        }
        self._socket: ClientConnection | None = None
        self._unconfirmed = 0
        self._began = time.monotonic()
        self.connected_since: datetime | None = None
        self.last_message_at: float | None = None
        self.leaving, self.live = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"{self._exchange.name} socket")

    @property
    def age_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    async def resubscribe(self, stream: Stream) -> None:
        """Subscribe anew, for a stream that begins with a snapshot."""
        if self._socket is not None:
            again = [*self._exchange.unsubscribe([stream]), *self._exchange.subscribe([stream])]
            await self._send(self._socket, again)

    async def finish(self) -> None:
        """Close the connection; what has come by then is still taken in."""
        if self._socket is None:
            self.task.cancel()
        else:
            with suppress(*LOST):
                await self._socket.close()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            async with connect(
                self._exchange.socket_address,
                open_timeout=self._settings.connect_timeout_s,
                ping_interval=self._settings.ping_every_s,
                ping_timeout=self._settings.ping_every_s,
                close_timeout=self._settings.connect_timeout_s,
                max_queue=self._settings.queue_frames,
                max_size=_LONGEST_FRAME,
                compression=None,
            ) as socket:
                self._socket, self.connected_since = socket, datetime.now(UTC)
                await self._send(socket, self._exchange.subscribe(self._streams))
                while True:
                    frame = await self._receive(socket)
                    self.last_message_at = time.monotonic()
                    await self._take(frame)
        finally:
            self.connected_since = self._socket = None
            for book in self._books.values():
                book.end()
            self._router.disconnected(self._streams)

    async def _receive(self, socket: ClientConnection) -> str | bytes:
        try:
            async with asyncio.timeout(self._settings.silent_after_s):
                return await socket.recv()
        except TimeoutError:
            msg = f"no message for {self._settings.silent_after_s:g} s"
            raise TimeoutError(msg) from None

    async def _send(self, socket: ClientConnection, messages: Sequence[str]) -> None:
        for message in messages:
            self._unconfirmed += 1
            await socket.send(message)
            if len(messages) > 1:
                await asyncio.sleep(1 / self._exchange.limits.messages_per_s)

    async def _take(self, frame: str | bytes) -> None:
        """Take a frame in; one that cannot be read is kept, and stops nothing."""
        try:
            for event in self._exchange.parse(frame, self._router.symbols):
                await self._handle(event, frame)
        except InvalidInputError as exc:
            await self._router.keep(frame, "malformed", exc)
        except (ExchangeError, IngestionClosedError):
            raise
        except Exception as exc:  # noqa: BLE001 (whatever one message does, the next ones are read)
            await self._router.keep(frame, "failed", InvalidInputError("message", frame, repr(exc)))

    async def _handle(self, event: FeedEvent, frame: str | bytes) -> None:
        match event:
            case Subscribed():
                self._unconfirmed -= 1
            case Refused(reason):
                raise ExchangeError(self._exchange.name, "a subscription", None, reason)
            case GoingAway():
                self.leaving.set()
            case BookSnapshot(symbol, snapshot) if symbol in self._books:
                self._books[symbol].apply_snapshot(snapshot)
            case BookUpdate(symbol, diff) if symbol in self._books:
                await self._books[symbol].apply_diff(diff, frame)
            case _:
                await self._router.take(event, frame)
        if self._unconfirmed <= 0 and all(book.is_valid for book in self._books.values()):
            self.live.set()
