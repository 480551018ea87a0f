"""Requests keep to the limits of an exchange, and wait as long as it says."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from datalayer.errors import ExchangeError
from datalayer.integrations.binance.spot import BinanceSpot
from datalayer.integrations.feeds import FeedSettings, Limits, RestRequest
from datalayer.integrations.feeds.rest import RestClient, _Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = FeedSettings(retry_wait_initial_s=0.01, retry_wait_max_s=0.02, rest_attempts=3)


@asynccontextmanager
async def asking(answers: list[web.Response], seen: list[float]) -> AsyncIterator[RestClient]:
    async def handle(_: web.Request) -> web.Response:
        seen.append(asyncio.get_running_loop().time())
        return answers.pop(0)

    app = web.Application()
    app.router.add_get("/thing", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with RestClient(BinanceSpot(rest_url=url), QUICK) as client:
            yield client
    finally:
        await runner.cleanup()


async def test_it_waits_as_long_as_it_is_told() -> None:
    seen: list[float] = []
    answers = [web.Response(status=429, headers={"Retry-After": "0.2"}), web.Response(text="done")]
    async with asking(answers, seen) as client:
        assert await client.get(RestRequest("/thing")) == b"done"
    assert seen[1] - seen[0] >= 0.2


async def test_a_shorter_ban_does_not_end_a_longer_one() -> None:
    """Both requests are on their way when the exchange bans; the second is told to wait for less."""
    seen: list[float] = []
    answers = [
        web.Response(status=418, headers={"Retry-After": "0.4"}),
        web.Response(status=429, headers={"Retry-After": "0.01"}),
        web.Response(text="done"),
        web.Response(text="done"),
    ]
    async with asking(answers, seen) as client:
        await asyncio.gather(client.get(RestRequest("/thing")), client.get(RestRequest("/thing")))
    assert seen[2] - seen[0] >= 0.4


async def test_server_faults_are_tried_again_and_refusals_are_not() -> None:
    seen: list[float] = []
    answers = [
        web.Response(status=502),
        web.Response(text="done"),
        web.Response(status=400, text="Invalid symbol."),
    ]
    async with asking(answers, seen) as client:
        assert await client.get(RestRequest("/thing")) == b"done"
        with pytest.raises(ExchangeError, match=r"binance answered 400 to /thing: Invalid symbol\."):
            await client.get(RestRequest("/thing"))
    assert len(seen) == 3


async def test_it_gives_up_after_some_attempts() -> None:
    seen: list[float] = []
    async with asking([web.Response(status=500) for _ in range(3)], seen) as client:
        with pytest.raises(ExchangeError) as caught:
            await client.get(RestRequest("/thing"))
    assert caught.value.status == 500
    assert len(seen) == 3


async def test_an_exchange_that_is_away_is_told_in_words() -> None:
    async with RestClient(BinanceSpot(rest_url="http://127.0.0.1:9"), QUICK) as client:
        with pytest.raises(ExchangeError, match=r"did not answer to /thing: Cannot connect to host 127"):
            await client.get(RestRequest("/thing"))


def test_weight_is_spent_in_a_window() -> None:
    window = _Window(Limits(1, 1, None, rest_weight=100, rest_window_s=60))

    assert window.wait_s(0.0, 60) == 0
    assert window.wait_s(10.0, 40) == 0
    assert window.wait_s(20.0, 1) == 40.0
    assert window.wait_s(60.0, 60) == 0
    assert window.wait_s(60.0, 1) == 10.0
    assert window.wait_s(1_000.0, 500) == 0  # more than is allowed goes alone
