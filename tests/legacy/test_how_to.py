"""`docs/how-to/replace-data-provider.md`: the bot decides the same before, with the drop-in, and on the API itself."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from datalayer.integrations.data_provider import DataProvider, DataProviderMixin
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market
from tests.integration.documentation.examples import CHECKOUT, page_blocks
from tests.legacy import old_data_provider
from tests.legacy.conftest import feed_of
from tests.legacy.local_exchange import LocalExchange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import datalayer.sync
    from datalayer import Settings

PAGE = "docs/how-to/replace-data-provider.md"
BEFORE, *REST, AFTER = page_blocks(PAGE)
DROP_IN = """\
    def __init__(self, market, feed):
        self.provider = DataProvider(market, feed=feed)
"""


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def defined(code: str, **names: Any) -> dict[str, Any]:
    exec(compile(code, PAGE, "exec"), names)  # noqa: S102 (our own documentation)
    return names


def with_drop_in() -> str:
    """The bot as the page's diff makes it."""
    head, _, tail = BEFORE.partition("    def __init__")
    return head + DROP_IN + tail.split("\n", 2)[2]


def test_the_diff_is_what_makes_the_drop_in_of_it() -> None:
    diff = (CHECKOUT / PAGE).read_text().split("```diff\n")[1].split("```")[0].splitlines()
    added = [line[1:] for line in diff if line.startswith("+")]
    assert "\n".join(added[1:]) + "\n" == DROP_IN
    assert all(line[1:] in BEFORE for line in diff[1:] if line.startswith("-"))
    assert "import DataProvider" in added[0]


@pytest.fixture
def exchange() -> LocalExchange:
    """At 09:00, after three hours that rose; of the next minutes one falls below the mean."""
    return LocalExchange(540)


def test_the_bot_decides_the_same_before_on_the_drop_in_and_on_the_api_itself(
    market: datalayer.sync.UnifiedDataProvider, exchange: LocalExchange, cache_dir: Path, tmp_path: Path
) -> None:
    def old_provider(symbols: list[str], timeframes: list[str], _: str, venue: LocalExchange) -> Any:
        return old_data_provider.DataProvider(symbols, timeframes, str(cache_dir), venue)

    before = defined(BEFORE, DataProvider=old_provider)["MomentumBot"](exchange)
    feed = feed_of(exchange, tmp_path / "market.outbox")
    drop_in = defined(with_drop_in(), DataProvider=DataProvider)["MomentumBot"](market, feed)
    new = defined(AFTER)["NewMomentumBot"](market)
    threading.Thread(target=new.run, daemon=True).start()
    providers, bots = (before.provider, drop_in.provider), (before, drop_in, new)
    for bot in (before, drop_in):
        bot.start()
    for number in range(3):
        bid = 64_000.0 + number
        exchange.book(bid)
        exchange.trade(exchange.close)
        wait_for(lambda bid=bid: all(has_bid(provider, bid) for provider in providers))
        exchange.minute(closed=True)
        wait_for(lambda number=number: all(len(bot.decisions) > number for bot in bots))
    for bot in (before, drop_in):
        bot.stop()
        bot.provider.close()
    assert [decision[1] for decision in before.decisions] == ["buy", "wait", "buy"]
    assert drop_in.decisions == before.decisions
    assert [(at.replace(tzinfo=None), *said) for at, *said in new.decisions] == before.decisions


def has_bid(provider: Any, bid: float) -> bool:
    book = provider.get_order_book("BTC/USDT")
    return book is not None and book["bids"][0][0] == bid


async def test_the_other_examples_run(
    migrated_cache: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del migrated_cache
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATALAYER_DATABASE_URL", settings.require_url().render_as_string(hide_password=False))
    bot = defined(with_drop_in(), DataProvider=DataProvider)["MomentumBot"]
    async with BinanceServer([load_market(most=500)]) as server:
        local = f"BinanceSpot(socket_url={server.socket_url!r}, rest_url={server.rest_url!r})"

        def run() -> None:
            names: dict[str, Any] = {"MomentumBot": bot}
            for block in REST:
                names = defined(block.replace("BinanceSpot()", local), **names)

        await asyncio.to_thread(run)
    assert server.requests["/api/v3/klines"] >= 1
    assert (tmp_path / "market.outbox").exists()


def test_the_table_names_what_the_methods_name() -> None:
    old = {
        name: method.replaced_by
        for name, method in vars(DataProviderMixin).items()
        if hasattr(method, "replaced_by")
    }
    page = (CHECKOUT / PAGE).read_text()
    assert [line for line in page.splitlines() if line.startswith("| `get_") or "subscribe` | " in line] == [
        f"| `{name}` | `{call}` |" for name, call in old.items()
    ]
