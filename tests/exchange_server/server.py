"""What the local exchanges share: sockets, the course of the market, and faults at chosen messages."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiohttp import WSCloseCode, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.exchange_server.market import Market, Step


TURNS = 8
"""Turns of the event loop between two messages: about what a client in the same loop needs for one."""


SLOW_S = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at a message.

    Attributes:
        kind: cut (sockets are torn down, `size` messages are missed), drop (`size` messages are not sent), stall (the
            sockets stay, and bring nothing), slow,
            twice, swap (with the next message), garbage (frames that nobody can read).
        size: how many messages it concerns.
    """

    kind: str
    size: int = 1


@dataclass(eq=False)
class Socket:
    """A client's connection."""

    ws: web.WebSocketResponse
    in_microseconds: bool = False
    streams: set[str] = field(default_factory=set)
    is_stalled: bool = False


class ExchangeServer:
    """A local exchange. Each message is sent as soon as the one before is on its way, or at the recording's speed.

    Args:
        markets: what is traded.
        faults: by number of the message.
    """

    garbage: Sequence[str] = (
        "not json",
        '{"e": "nonsense"}',
        "[1, 2",
        '{"stream": 7, "data": {}}',
        "😀",
    )

    def __init__(self, markets: Sequence[Market], faults: dict[int, Fault] | None = None) -> None:
        self.markets = {market.pair: market for market in markets}
        self.faults = dict(faults or {})
        self.sockets: set[Socket] = set()
        self.connected = 0
        self.rest_answers: list[web.Response] = []
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.sent_garbage = 0
        self._ready = asyncio.Event()
        self._wanted: set[str] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        await self._runner.cleanup()

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    def frames(self, step: Step, socket: Socket) -> list[str]:
        """Return what a socket is sent of a message."""
        raise NotImplementedError

    async def subscribed(self, socket: Socket, message: dict[str, Any]) -> None:
        """Answer a message of a client."""
        raise NotImplementedError

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=True)
        await ws.prepare(request)
        socket = Socket(ws, "timeUnit" in request.query)
        self.sockets.add(socket)
        self.connected += 1
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self.subscribed(socket, json.loads(message.data))
                    self._note()
        finally:
            self.sockets.discard(socket)
            self._note()
        return ws

    async def answered(self, request: web.Request, body: Any) -> web.Response:
        """Answer a request, unless something else is to be answered next."""
        self.requests[request.path] += 1
        if self.rest_answers:
            return self.rest_answers.pop(0)
        return web.json_response(body)

    async def play(
        self, pair: str = "BTCUSDT", *, end: int | None = None, speed: float | None = None
    ) -> None:
        """Let the market go on to its end, or to a message; waits while nobody listens."""
        market, loop = self.markets[pair], asyncio.get_running_loop()
        begun = loop.time()
        first_ms = market.steps[market.cursor].receive_ms
        while market.cursor < (len(market.steps) if end is None else end):
            if speed is not None:
                due = begun + (market.steps[market.cursor].receive_ms - first_ms) / 1_000 / speed
                await asyncio.sleep(max(0.0, due - loop.time()))
            await self._ready.wait()
            fault = self.faults.pop(market.cursor, None)
            if fault is None:
                await self.send(market.advance())
            else:
                await self._go_wrong(fault, market)
            if speed is None:
                for _ in range(TURNS):
                    await asyncio.sleep(0)

    async def send(self, step: Step) -> None:
        """Send a message to whom it concerns."""
        for socket in tuple(self.sockets):
            if not socket.is_stalled:
                for frame in self.frames(step, socket):
                    await self.send_text(socket, frame)

    async def send_text(self, socket: Socket, frame: str) -> None:
        with suppress(ConnectionError, RuntimeError):
            await socket.ws.send_str(frame)

    async def cut(self) -> None:
        """Tear all connections down."""
        for socket in tuple(self.sockets):
            transport = socket.ws._req.transport if socket.ws._req else None
            if transport is not None:
                transport.abort()
            self.sockets.discard(socket)
        self._note()

    async def close(self) -> None:
        """Close all connections in order."""
        for socket in tuple(self.sockets):
            self.sockets.discard(socket)
            await socket.ws.close(code=WSCloseCode.GOING_AWAY)
        self._note()

    async def _go_wrong(self, fault: Fault, market: Market) -> None:  # noqa: C901, PLR0912 (a list of kinds)
        missed = [market.advance() for _ in range(min(fault.size, len(market.steps) - market.cursor - 1))]
        if fault.kind == "cut":
            await self.cut()
        elif fault.kind == "stall":
            for socket in self.sockets:
                socket.is_stalled = True
            self._note()
        elif fault.kind == "swap":
            for step in reversed([*missed, market.advance()]):
                await self.send(step)
        elif fault.kind == "twice":
            for step in missed * 2:
                await self.send(step)
        elif fault.kind == "garbage":
            for socket in tuple(self.sockets):
                for frame in self.garbage:
                    self.sent_garbage += 1
                    await self.send_text(socket, frame)
            for step in missed:
                await self.send(step)
        elif fault.kind == "slow":
            for step in missed:
                await asyncio.sleep(SLOW_S)
                await self.send(step)
        else:
            assert fault.kind == "drop"

    def _note(self) -> None:
        listening = {stream for socket in self.sockets if not socket.is_stalled for stream in socket.streams}
        self._wanted |= listening
        if self._wanted and listening >= self._wanted:
            self._ready.set()
        else:
            self._ready.clear()
