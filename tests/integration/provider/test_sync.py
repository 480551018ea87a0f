"""The blocking twin: the same methods, from many threads, beside a running loop, to a clean end."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import datalayer
import datalayer.sync
from datalayer import Timeframe
from datalayer.errors import ForkedProcessError, InvalidInputError, ProviderClosedError
from tests.integration.provider.feeding import BTC, START, feed, store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings
    from tests.integration.provider.conftest import Clock

THREADS = 16
ROUNDS = 25


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_")}


def parameters(function: Any) -> list[tuple[str, Any, Any, Any]]:
    signature = inspect.signature(function)
    return [(one.name, one.kind, one.default, one.annotation) for one in signature.parameters.values()]


@pytest.mark.parametrize(
    "name", sorted({*public(datalayer.UnifiedDataProvider)} - {"database", "from_settings"})
)
def test_the_two_apis_have_the_same_signatures(name: str) -> None:
    ours, theirs = (
        getattr(kind, name) for kind in (datalayer.sync.UnifiedDataProvider, datalayer.UnifiedDataProvider)
    )
    if isinstance(theirs, property):
        assert (
            inspect.signature(ours.fget).return_annotation == inspect.signature(theirs.fget).return_annotation
        )
        return
    assert parameters(ours) == parameters(theirs)
    assert inspect.signature(ours).return_annotation == inspect.signature(theirs).return_annotation
    assert not inspect.iscoroutinefunction(ours)
    assert (ours.__doc__ or "").startswith(f"As `datalayer.UnifiedDataProvider.{name}`") or name == "close"


def test_the_twin_has_little_besides() -> None:
    assert {*public(datalayer.sync.UnifiedDataProvider)} - {*public(datalayer.UnifiedDataProvider)} == {
        "run",
        "asynchronous",
    }
    made = parameters(datalayer.sync.UnifiedDataProvider.__init__)[1:]
    assert made == parameters(datalayer.UnifiedDataProvider.from_settings)
    assert parameters(datalayer.sync.connect) == parameters(datalayer.connect)
    subscription = {*public(datalayer.sync.Subscription)}
    assert subscription == {*public(datalayer.provider.Subscription)} - {"begin"}


@pytest.fixture
async def filled(engine: AsyncEngine, clock: Clock) -> None:
    await store(engine, range(200))
    clock.now = START


@pytest.fixture
def market(filled: None, settings: Settings, clock: Clock) -> Iterator[datalayer.sync.UnifiedDataProvider]:
    del filled
    cache = clock.cache()
    provider = datalayer.sync.UnifiedDataProvider(settings, cache=cache, symbols=[BTC])
    feed(cache, clock, range(200, 400))
    with provider:
        yield provider


def test_it_works_beside_a_running_loop(market: datalayer.sync.UnifiedDataProvider) -> None:
    async def cell() -> int:
        return len(market.get_trades(BTC, limit=300))

    with ThreadPoolExecutor(1) as notebook:  # this thread may have a loop of its own already
        assert notebook.submit(asyncio.run, cell()).result() == 300


def test_many_threads_get_each_what_they_ask_for(market: datalayer.sync.UnifiedDataProvider) -> None:
    def work(number: int) -> list[Any]:
        found: list[Any] = []
        for round_ in range(ROUNDS):
            limit = 1 + (number * ROUNDS + round_) % 350
            trades = market.get_trades(BTC, limit=limit)
            assert trades["trade_id"].tolist() == list(range(400 - limit, 400))
            answer = market.get_inference_data(BTC, candles=1 + limit % 30, timeframes=["1s", "1m"])
            assert len(answer.candles[Timeframe.S1]) == 1 + limit % 30
            frames = market.get_multi_timeframe_data(BTC, ["1m"], limit=2)
            with pytest.raises(InvalidInputError):
                market.get_trades("ETH/USDT", limit=1)
            found.append((answer.order_book.best_bid if answer.order_book else None, len(frames["1m"])))
        return found

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(work, range(THREADS)))
    assert {one for found in results for one in found} == {(60_400.0, 2)}


def test_a_feed_in_one_thread_reaches_subscribers_in_others(
    market: datalayer.sync.UnifiedDataProvider, clock: Clock
) -> None:
    ready = threading.Barrier(5)

    def subscriber(_: int) -> list[int]:
        with market.subscribe(BTC, "trades", max_lag=1_000) as trades:
            ready.wait()
            return [next(trades).trade_id for _ in range(500)]  # type: ignore[union-attr]

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(subscriber, number) for number in range(4)]
        ready.wait()
        feed(market.cache, clock, range(400, 900), with_books=False)
        assert all(future.result() == list(range(400, 900)) for future in futures)


def test_closing_ends_who_waits(market: datalayer.sync.UnifiedDataProvider) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(list, market.subscribe(BTC, "trades"))
        market.run(asyncio.sleep(0.05))
        threading.Thread(target=market.close).start()
        assert waiting.result(10) == []
    market.close()
    with pytest.raises(ProviderClosedError, match="open a new one"):
        market.get_trades(BTC, limit=1)
    assert "datalayer.sync" not in {thread.name for thread in threading.enumerate()}


def test_calls_that_are_under_way_when_it_closes_end_with_an_error(
    market: datalayer.sync.UnifiedDataProvider,
) -> None:
    def call() -> None:
        market.run(asyncio.sleep(60))

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(call) for _ in range(4)]
        time.sleep(0.05)
        market.close()
        for future in futures:
            with pytest.raises(ProviderClosedError, match="closed meanwhile"):
                future.result(10)


def test_a_call_in_its_own_loop_is_refused_and_does_not_wait_for_itself(
    market: datalayer.sync.UnifiedDataProvider,
) -> None:
    async def inside() -> None:
        market.get_trades(BTC, limit=1)

    with pytest.raises(ProviderClosedError, match="would wait for itself"):
        market.run(inside())


def test_coroutines_may_use_the_provider_in_its_loop(market: datalayer.sync.UnifiedDataProvider) -> None:
    async def inside() -> int:
        return len(await market.asynchronous.get_trades(BTC, limit=7))

    assert market.run(inside()) == 7
    assert market.symbols == (BTC,)
    assert market.timeframes == tuple(Timeframe)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_is_told_to_open_its_own(market: datalayer.sync.UnifiedDataProvider) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            market.close()  # changes nothing of the parent's
            market.get_trades(BTC, limit=1)
        except ForkedProcessError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told = os.read(read, 1_000).decode()
    assert "of which this one is a fork" in told
    assert "open a provider in each process, after forking" in told
    assert len(market.get_trades(BTC, limit=1)) == 1
    for end in (read, write):
        os.close(end)


SCRIPT = """
import sys, datalayer.sync, datalayer
market = datalayer.sync.connect(sys.argv[1]).open()
market.subscribe("BTC/USDT", "trades").__enter__()
print(len(market.get_trades("BTC/USDT", limit=5)), flush=True)
{ending}
"""


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "del market"])
def test_the_end_of_the_interpreter_closes_it(filled: None, settings: Settings, ending: str) -> None:
    del filled
    url = settings.require_url().render_as_string(hide_password=False)
    command = [sys.executable, "-W", "error", "-c", SCRIPT.format(ending=ending), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "5\n"
    assert done.stderr == ""
    assert done.returncode == (3 if "3" in ending else 0)


def test_an_error_while_opening_leaves_no_thread(clock: Clock) -> None:
    settings = datalayer.Settings.load(
        database_url="postgresql://nobody@127.0.0.1:1/none", connect_timeout_s=2
    )
    provider = datalayer.sync.UnifiedDataProvider(settings, cache=clock.cache())
    with pytest.raises(datalayer.errors.DatabaseUnavailableError), provider:
        pass
    provider.close()
    assert "datalayer.sync" not in {thread.name for thread in threading.enumerate()}
