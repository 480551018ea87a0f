"""Requests to the REST interface of an exchange, within its limits."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from datalayer.errors import ExchangeError
from datalayer.integrations.feeds.extra import aiohttp

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from datalayer.integrations.feeds.exchange import Exchange, Limits, RestRequest
    from datalayer.integrations.feeds.settings import FeedSettings

logger = logging.getLogger(__name__)

_BANNED: Final = (418, 429)
_SERVER_FAULT: Final = 500
_DEFAULT_RETRY_AFTER_S: Final = 10.0


class _PassingError(ExchangeError):
    """The same request may succeed later."""


class _Window:
    """Weight that was spent in the last seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._spent: deque[tuple[float, int]] = deque()

    def wait_s(self, now: float, weight: int) -> float:
        """Return after how many seconds there is room for a request; 0: it may be made, and is counted."""
        while self._spent and self._spent[0][0] <= now - self._limits.rest_window_s:
            self._spent.popleft()
        if self._spent and sum(spent for _, spent in self._spent) + weight > self._limits.rest_weight:
            return self._spent[0][0] + self._limits.rest_window_s - now
        self._spent.append((now, weight))
        return 0.0


class RestClient:
    """Asks an exchange. When that says to wait (429, 418), all requests do, for as long as it says.

    Args:
        exchange: whom.
        settings: time limits and retries.
    """

    def __init__(self, exchange: Exchange, settings: FeedSettings) -> None:
        self._exchange, self._settings = exchange, settings
        self._window = _Window(exchange.limits)
        self._closed_until = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._settings.rest_timeout_s)
        self._session = aiohttp.ClientSession(headers=dict(self._exchange.headers), timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, request: RestRequest) -> bytes:
        """Return the body of the answer.

        Raises:
            ExchangeError: it refuses the request, or did not answer it in all attempts.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_PassingError),
            stop=stop_after_attempt(self._settings.rest_attempts),
            wait=wait_random_exponential(
                self._settings.retry_wait_initial_s, self._settings.retry_wait_max_s
            ),
            reraise=True,
        )
        return await retrying(self._try, request)

    async def _try(self, request: RestRequest) -> bytes:
        if self._session is None:
            msg = "the client is not open"
            raise RuntimeError(msg)
        while True:
            await self._room(request.weight)
            url = f"{self._exchange.rest_url.rstrip('/')}/{request.path.lstrip('/')}"
            try:
                async with self._session.get(url, params=dict(request.params)) as answer:
                    body = await answer.read()
                    status, retry_after = answer.status, answer.headers.get("Retry-After", "")
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                told = str(exc) or type(exc).__name__
                raise _PassingError(self._exchange.name, request.path, None, told) from exc
            if status not in _BANNED:
                return self._checked(request, status, body)
            self._obey(status, retry_after)

    def _checked(self, request: RestRequest, status: int, body: bytes) -> bytes:
        if status == 200:  # noqa: PLR2004
            return body
        kind = _PassingError if status >= _SERVER_FAULT else ExchangeError
        raise kind(self._exchange.name, request.path, status, body[:200].decode(errors="replace"))

    async def _room(self, weight: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wait_s = self._closed_until - loop.time()
            if wait_s <= 0:
                wait_s = self._window.wait_s(loop.time(), weight)
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s)

    def _obey(self, status: int, retry_after: str) -> None:
        try:
            wait_s = max(float(retry_after), self._settings.retry_wait_initial_s)
        except ValueError:
            wait_s = _DEFAULT_RETRY_AFTER_S
        logger.warning("%s answers %d: no requests for %g s", self._exchange.name, status, wait_s)
        # Another request that was on its way may be told less; the longest ban holds.
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + wait_s)
