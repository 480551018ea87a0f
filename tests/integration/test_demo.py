"""The demo as a user runs it: a command, its output, its exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from matplotlib.image import imread
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from datalayer.demo.database import SCHEMA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PASSED = "PASSED: all 60 values of 10 minutes equal the exchange's, to the last digit."
# A second of the ten checked minutes in which nobody traded.
SILENT_SECOND = """
    SELECT second FROM generate_series(timestamptz '2024-08-08 23:55+00', '2024-08-09 00:04:59+00', '1 second') AS second
    WHERE NOT EXISTS (SELECT FROM datalayer_demo.candles WHERE timeframe = 1 AND ts = second) LIMIT 1
"""
NOTHING_DIRTY = f"SELECT 1 / CAST(count(*) = 0 AS integer) FROM {SCHEMA}.dirty_ranges"
SPOIL = f"""
    INSERT INTO datalayer_demo.candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
    SELECT ({SILENT_SECOND}), open, high, low, close, 1, 1, 1, instrument_id
    FROM datalayer_demo.candles WHERE timeframe = 1 ORDER BY ts LIMIT 1
"""


def run_demo(output: Path, *arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "100"} | ({"DATALAYER_DATABASE_URL": url} if url else {})
    command = [Path(sys.executable).parent / "datalayer", "demo", "--output", output, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=240, check=False
    )


async def execute(url: str, *statements: str) -> None:
    engine = create_async_engine(make_url(url))
    try:
        async with engine.begin() as conn:
            for statement in statements:
                await conn.execute(text(statement))
    finally:
        await engine.dispose()


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    """The test database; without the demo's schema before and after."""
    yield database_url
    await execute(database_url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


@pytest.mark.timeout(900)  # the whole demo, several times
async def test_demo_again_and_with_a_spoilt_second_and_removed(url: str, tmp_path: Path) -> None:
    first = run_demo(tmp_path / "new" / "folder", url=url)
    assert (first.returncode, first.stderr) == (0, "")
    assert PASSED in first.stdout
    assert re.search(r"1m candles +44,640 +44,640 +0 ", first.stdout)
    assert re.search(r"trades +19,904 +19,904 +0 ", first.stdout)
    assert re.search(r"order books, 2 x 20 levels +1,301 +1,301 +0 ", first.stdout)
    assert re.search(r"1d +08-08 00:00:00 +55133.76 +62745.14 +54730.00 +61685.99 .*generated", first.stdout)
    assert max(map(len, first.stdout.splitlines())) <= 100
    await execute(url, NOTHING_DIRTY)

    again = run_demo(tmp_path, url=url)
    assert (again.returncode, again.stderr) == (0, "")
    assert PASSED in again.stdout
    assert re.search(r"1m candles +44,640 +0 +44,640 ", again.stdout)
    assert re.search(r"1s candles +645 +0 +645 ", again.stdout)
    assert shown_results(again) == shown_results(first)

    await execute(url, SPOIL)
    spoilt = run_demo(tmp_path, url=url)
    assert spoilt.returncode == 1
    assert re.search(r"FAILED: [2-6] of 60 values", spoilt.stdout)

    removed = run_demo(tmp_path, "--drop", url=url)
    assert (removed.returncode, removed.stderr) == (0, "")
    assert "is removed" in removed.stdout
    assert "nothing of the demo" in run_demo(tmp_path, "--drop", url=url).stdout


def shown_results(run: subprocess.CompletedProcess[str]) -> str:
    """Everything but times, counts and sizes."""
    return run.stdout.partition("the last closed candles")[2].partition("Picture:")[0]


def test_demo_needs_nothing_and_draws_a_picture(tmp_path: Path) -> None:
    run = run_demo(tmp_path)

    assert (run.returncode, run.stderr) == (0, "")
    assert "embedded TimescaleDB in memory" in run.stdout
    assert "production wants a server" in run.stdout
    assert PASSED in run.stdout
    picture = imread(tmp_path / "btc_usdt.png")
    assert picture.shape[:2] == (750, 1500)
    assert picture[:, :1000].std() > 0.05  # the candles are there
    assert picture[:, 1100:].std() > 0.05  # and the book


async def test_a_schema_of_somebody_else_is_left_alone(url: str, tmp_path: Path) -> None:
    await execute(url, f"CREATE SCHEMA {SCHEMA}", f"CREATE TABLE {SCHEMA}.precious (id integer)")

    for arguments in ((), ("--drop",)):
        run = run_demo(tmp_path, *arguments, url=url)
        assert run.returncode == 1
        assert "was not made by the demo" in run.stderr
        assert "Traceback" not in run.stderr
    await execute(url, f"SELECT * FROM {SCHEMA}.precious")


@pytest.mark.parametrize("arguments", [(), ("--drop",)])
def test_no_password_and_no_traceback_when_nobody_answers(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run = run_demo(tmp_path, *arguments, url="postgresql://reader:hidden@127.0.0.1:1/market")

    assert run.returncode == 1
    assert "no database answers at" in run.stderr
    assert "hidden" not in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def test_an_output_that_is_a_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()

    run = run_demo(taken)

    assert run.returncode == 1
    assert "output=" in run.stderr
    assert run.stdout == ""
