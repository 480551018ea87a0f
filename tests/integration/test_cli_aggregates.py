"""`datalayer aggregates`: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from datalayer.cli import app
from datalayer.db.connection import create_engine
from datalayer.errors import ConfigurationError
from tests.late_rows import seconds, write_books, write_candles
from tests.shell import shell_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.config import Settings

DAY = datetime(2024, 2, 29, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NOT_DONE = 3


@pytest.fixture
def cli(settings: Settings) -> CliRunner:
    return shell_on(settings)


def call(cli: CliRunner, *arguments: str, exit_code: int = 0) -> list[str]:
    result = cli.invoke(app, ["aggregates", *arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout.splitlines()


@asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[AsyncConnection]:
    engine = create_engine(settings.require_url(), settings)
    async with engine.begin() as conn:
        yield conn
    await engine.dispose()


def test_what_is_dirty_is_listed_and_refreshed(settings: Settings, cli: CliRunner) -> None:
    async def fill() -> None:
        async with connection(settings) as conn:
            await write_candles(conn, seconds(DAY + timedelta(hours=20), 10, step=3000))
            await write_books(conn, seconds(DAY, 60))

    asyncio.run(fill())
    header, *rows = call(cli, "dirty")
    assert header.split()[:2] == ["rows", "of"]
    assert [row.split()[:5] for row in rows] == [
        ["candles", "2024-02-29", "20:00:00", "2024-03-01", "03:30:00"],
        ["order_books", "2024-02-29", "00:00:00", "2024-02-29", "00:00:59"],
    ]
    assert call(cli, "refresh") == ["2 ranges refreshed in 3 steps"]
    assert [line.split() for line in call(cli, "dirty")] == [header.split()]
    assert call(cli, "refresh", "--no-audit") == ["0 ranges refreshed in 0 steps"]


def test_what_is_left_alone_and_what_was_found_is_named(settings: Settings, cli: CliRunner) -> None:
    async def lose_a_row() -> None:
        async with connection(settings) as conn:
            await conn.execute(text("DELETE FROM candles WHERE ts = :ts"), {"ts": DAY})
            await conn.execute(
                text("UPDATE candles SET volume = 9 WHERE ts < :end"), {"end": DAY + 2 * SECOND}
            )

    async def fill() -> None:
        async with connection(settings) as conn:
            await write_candles(conn, seconds(DAY, 300))

    asyncio.run(fill())
    call(cli, "refresh")
    asyncio.run(lose_a_row())
    found, left, done = call(cli, "refresh")
    assert found == "found, recorded by nobody: candles 2024-02-29 00:00:00 to 2024-02-29 00:00:01"
    assert left == "left alone: candles_1m 2024-02-29 00:00:00 to 2024-02-29 00:01:00 (fewer rows)"
    assert done == "1 ranges refreshed in 1 steps"


@pytest.mark.native
def test_another_refresher_is_not_waited_for(settings: Settings, cli: CliRunner) -> None:
    async def hold() -> None:
        async with connection(settings) as conn:
            key = "hashtextextended('datalayer.refresh ' || current_schema(), 0)"
            await conn.execute(text(f"SELECT pg_advisory_xact_lock({key})"))
            lines = await asyncio.to_thread(call, cli, "refresh", exit_code=NOT_DONE)
            assert lines == ["another refresher is at work; nothing was done"]

    asyncio.run(hold())


@pytest.mark.native
def test_a_service_ends_in_order_when_it_is_asked_to(settings: Settings, cli: CliRunner) -> None:
    async def fill() -> None:
        async with connection(settings) as conn:
            await write_candles(conn, seconds(DAY, 60))

    asyncio.run(fill())
    command = [Path(sys.executable).with_name("datalayer"), "aggregates", "refresh", "--every", "60"]
    environment = os.environ | {name: value for name, value in cli.env.items() if value is not None}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        assert b"candles" in service.stdout.readline()
        service.terminate()
        assert service.wait(timeout=30) == 0


def test_the_database_is_written_down() -> None:
    with pytest.raises(ConfigurationError, match="DATALAYER_DATABASE_URL"):
        call(CliRunner(), "refresh")
