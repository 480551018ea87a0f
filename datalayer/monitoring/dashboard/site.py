"""Serving the page: GET only, to those who name this machine."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import ConfigurationError, DatabaseError, InvalidInputError
from datalayer.monitoring.dashboard import page
from datalayer.monitoring.dashboard.history import ServiceHistory
from datalayer.monitoring.dashboard.reading import read_symbol
from datalayer.monitoring.watch import DatabaseWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from aiohttp.typedefs import Middleware

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.monitoring.state import DatabaseState

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_HEADERS: Final = {
    # Nothing but its own style: no script, no picture, nobody's frame.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{page.STYLE_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@asynccontextmanager
async def serve_dashboard(
    database: DatabaseConnectionManager,
    *,
    host: str = "127.0.0.1",
    port: int = 8060,
    metrics: str | None = None,
    names: Iterable[str] = (),
    every_s: float = 15.0,
) -> AsyncIterator[str]:
    """Serve the page within the block.

    It only reads, in transactions that cannot write. There is no login: other machines should reach it through a proxy
    that has one. A request whose `Host` is neither this machine's, `host` nor one of `names` is refused, so that no page of
    elsewhere can read it through a name that it points here.

    Args:
        database: an open one.
        host: address to listen on.
        port: 0: any that is free.
        metrics: address of a service's metrics, whose latencies are shown.
        names: further names by which it may be reached, as through a proxy.
        every_s: pause between two looks at the database.

    Yields:
        Where it is, as in `http://127.0.0.1:8060/`.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    site = _Site(database, DatabaseWatch(database, interval_s=every_s), ServiceHistory(metrics))
    app = web.Application(middlewares=[_guard(_LOCAL | {name.lower() for name in (host, *names)})])
    app.router.add_get("/", site.show)
    async with AsyncExitStack() as ending:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        ending.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as exc:
            msg = (
                f"the dashboard cannot be served at {host}:{port}: {exc.strerror or exc}; choose another port"
            )
            raise ConfigurationError(msg) from exc
        await site.watch.look()
        for loop in (site.watch.run(), site.history.run()):
            ending.push_async_callback(_end, asyncio.create_task(loop))
        taken = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{taken}/"


class _Site:
    """What answers requests."""

    def __init__(
        self, database: DatabaseConnectionManager, watch: DatabaseWatch, history: ServiceHistory
    ) -> None:
        self._database, self.watch, self.history = database, watch, history

    async def show(self, request: web.Request) -> web.Response:
        state = self.watch.state
        if state is None:
            return _answer(
                page.message("The database does not answer", self.watch.failure or "not looked at yet"), 503
            )
        if not state.is_current:
            return _answer(page.message("The schema is behind", "run datalayer db upgrade"), 503)
        symbols = sorted({one.stored.symbol for one in state.series})
        body = page.head(state)
        if symbols:
            try:
                body += await self._symbol(state, request.query, symbols)
            except InvalidInputError as exc:
                return _answer(page.message("There is no such thing", str(exc)), 404)
            except DatabaseError as exc:
                return _answer(page.message("The database does not answer", str(exc)), 503)
        else:
            body += f"<p>Nothing is stored yet.</p><main>{self._rest(state)}</main>"
        return _answer(page.document("Data layer", body, refresh=True))

    async def _symbol(self, state: DatabaseState, asked: Mapping[str, str], symbols: list[str]) -> str:
        symbol = canonical_symbol(asked.get("symbol", symbols[0]))
        if symbol not in symbols:
            raise InvalidInputError(
                "symbol", symbol, f"nothing of it is stored; there are {', '.join(symbols)}"
            )
        series = [one for one in state.series if one.stored.symbol == symbol]
        stored = [one.timeframe for one in series if one.timeframe is not None]
        default = next((one for one in (Timeframe.M1, *stored) if one in stored), Timeframe.M1)
        timeframe = Timeframe.parse(asked.get("timeframe", default.label))
        span = asked.get("coverage", next(iter(page.SPANS)))
        if span not in page.SPANS:
            raise InvalidInputError("coverage", span, f"use one of {', '.join(page.SPANS)}")
        view = await read_symbol(self._database, symbol, series, timeframe, page.SPANS[span])
        chosen = {"symbol": symbol, "timeframe": timeframe.label, "coverage": span}
        offered = {
            "symbol": symbols,
            "timeframe": [one.label for one in Timeframe],
            "coverage": list(page.SPANS),
        }
        return (
            page.choices(chosen, offered)
            + f"<main>{page.symbol_sections(view, symbol, timeframe)}{self._rest(state)}</main>"
        )

    def _rest(self, state: DatabaseState) -> str:
        return (
            page.latency_section(self.history)
            + page.storage_section(state)
            + page.findings_section(state)
            + page.series_section(state)
        )


def _guard(hosts: frozenset[str]) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.host.lower()
        if (host if host.endswith("]") else host.rsplit(":", 1)[0]) not in hosts:
            raise web.HTTPMisdirectedRequest(text="this name is not served here; see --name\n")
        return await handler(request)

    return guard


def _answer(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status, headers=_HEADERS)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
