"""`datalayer instruments` and `datalayer rejects`: what they print, and their exit codes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from datalayer.cli import app
from datalayer.db.connection import create_engine
from datalayer.domain.validation import DataValidator
from datalayer.errors import ConfigurationError, InvalidInputError, ScaleError
from datalayer.repositories import InstrumentRepository, TradeRepository
from datalayer.repositories.rejects import RejectRepository
from tests.shell import shell_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.config import Settings

MOMENT = datetime(2024, 8, 8, tzinfo=UTC)
STILL_REFUSED = 3


@pytest.fixture
def cli(settings: Settings) -> CliRunner:
    return shell_on(settings)


def call(cli: CliRunner, *arguments: str, exit_code: int = 0) -> str:
    result: Result = cli.invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


def in_own_loop(settings: Settings, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        engine = create_engine(settings.require_url(), settings)
        async with engine.begin() as conn:
            done = await work(conn)
        await engine.dispose()
        return done

    return asyncio.run(run())


def fill(settings: Settings) -> list[int]:
    """Store a trade, and keep two that are refused; returns their numbers."""

    async def work(conn: AsyncConnection) -> list[int]:
        instrument = await InstrumentRepository(conn).ensure("BTC/USDT", 2, 5, details={"tickSize": "0.01"})
        records = [
            {"ts": MOMENT, "trade_id": n, "price": price, "size": "1", "side": 1}
            for n, price in enumerate(["10.25", "10.125", "[red]-1"])
        ]
        result = DataValidator(instrument).validate_trades(records)
        await TradeRepository(conn).insert_trades("BTC/USDT", result.accepted)
        await RejectRepository(conn).keep(result.rejected, source="test")
        return [reject.id for reject in await RejectRepository(conn).list_rejects()]

    found: list[int] = in_own_loop(settings, work)
    return found


def test_instruments_are_listed_shown_and_widened(cli: CliRunner, settings: Settings) -> None:
    fill(settings)
    assert call(cli, "instruments", "list").split()[-3:] == ["BTC/USDT", "2", "5"]
    shown = json.loads(call(cli, "instruments", "show", "btcusdt"))
    assert (shown["symbol"], shown["price_scale"], shown["details"]) == ("BTC/USDT", 2, {"tickSize": "0.01"})
    printed = call(cli, "instruments", "widen", "BTC-USDT", "--price-scale", "3")
    assert printed.splitlines()[:2] == ["BTC/USDT: price scale 3, size scale 5", "  trades: 1 rows"]
    assert "it had them already" in call(cli, "instruments", "widen", "BTC/USDT", "--price-scale", "3")
    with pytest.raises(ScaleError, match="never narrowed"):
        call(cli, "instruments", "widen", "BTC/USDT", "--price-scale", "2")
    call(cli, "instruments", "widen", "BTC/USDT", exit_code=2)
    call(cli, "instruments", "widen", "BTC/USDT", "--size-scale", "19", exit_code=2)


def test_rejects_are_listed_shown_retried_and_discarded(cli: CliRunner, settings: Settings) -> None:
    first, second = fill(settings)
    listed = call(cli, "rejects", "list")
    assert "representable" in listed
    assert "price = [red]-1" in listed
    assert str(first) not in call(cli, "rejects", "list", "--rule", "number").split()
    assert '"record"' in call(cli, "rejects", "show", str(first))
    call(cli, "instruments", "widen", "BTC/USDT", "--price-scale", "3")
    printed = call(cli, "rejects", "retry", "--all", exit_code=STILL_REFUSED)
    assert printed.splitlines() == ["1 stored", "1 still refused by the rule number"]
    assert call(cli, "rejects", "retry", "--all", "--rule", "representable").strip() == "0 stored"
    call(cli, "rejects", "retry", str(second), exit_code=STILL_REFUSED)
    assert call(cli, "rejects", "discard", str(first), str(second)).strip() == "1 discarded"
    assert [line.split()[3] for line in call(cli, "rejects", "list", "--status", "all").splitlines()[1:]] == [
        "retried",
        "discarded",
    ]
    call(cli, "rejects", "retry", exit_code=2)
    call(cli, "rejects", "retry", "--all", str(first), exit_code=2)
    call(cli, "rejects", "list", "--status", "closed", exit_code=2)
    with pytest.raises(InvalidInputError, match="no such rejected record"):
        call(cli, "rejects", "show", str(second + 1))


@pytest.mark.parametrize(
    "arguments",
    [
        ["instruments", "list"],
        ["instruments", "show", "BTC/USDT"],
        ["instruments", "widen", "BTC/USDT", "--price-scale", "3"],
        ["rejects", "list"],
        ["rejects", "show", "1"],
        ["rejects", "retry", "--all"],
        ["rejects", "discard", "1"],
    ],
)
def test_without_an_address_nothing_starts(arguments: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="DATALAYER_DATABASE_URL is not set"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
