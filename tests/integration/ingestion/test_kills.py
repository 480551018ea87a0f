"""The process and its connections are killed at random moments under load; then everything is counted."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.integration.ingestion.feeding import SEEDS, Feeder, ended
from tests.integration.ingestion.market import scalar

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.require_url().render_as_string(hide_password=False)


@SEEDS
async def test_the_process_is_killed_again_and_again(
    engine: AsyncEngine, url: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    feeder = Feeder(url, tmp_path)
    for _ in range(3):
        before = sum(map(len, feeder.promised().values()))
        process = await feeder.start(100_000)
        await feeder.until_promised(before + chance.randrange(1, 1_500))
        process.kill()
        await ended(process)
        feeder.go_on()
    await feeder.finish(engine)
    await feeder.check(engine)


async def test_a_crash_between_commit_and_acknowledgement_stores_nothing_twice(
    engine: AsyncEngine, url: str, tmp_path: Path
) -> None:
    feeder = Feeder(url, tmp_path)
    for _ in range(3):
        process = await feeder.start(100_000, "die-before-acknowledgement")
        code, errors = await ended(process)
        assert code == -signal.SIGKILL, errors
        feeder.go_on()
    stored = await scalar(engine, "SELECT (SELECT count(*) FROM candles) + (SELECT count(*) FROM trades)")
    assert stored > 0
    await feeder.finish(engine)
    await feeder.check(engine)


async def test_sigterm_ends_in_order_with_everything_stored(
    engine: AsyncEngine, url: str, tmp_path: Path
) -> None:
    feeder = Feeder(url, tmp_path)
    process = await feeder.start(100_000, "signals")
    await feeder.until_promised(500)
    process.terminate()
    code, errors = await ended(process)
    assert code == 1, errors  # by CancelledError, as the helper says
    assert re.search(r"SIGTERM: ending", errors)
    await feeder.check(engine)  # without another run
    assert "left in outbox" not in errors


@pytest.mark.native
@SEEDS
async def test_connections_are_killed_at_random_moments(
    engine: AsyncEngine, url: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    feeder = Feeder(url, tmp_path)
    process = await feeder.start(1_500)
    while process.returncode is None:
        await asyncio.sleep(chance.uniform(0.0, 0.2))
        await scalar(
            engine,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'feeder' AND datname = current_database()",
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await process.wait()
    code, errors = await ended(process)
    assert code == 0, errors
    await feeder.finish(engine)  # closing has a time limit, which a slow machine reaches
    await feeder.check(engine)
    assert {len(sent) for sent in feeder.promised().values()} == {1_500}
