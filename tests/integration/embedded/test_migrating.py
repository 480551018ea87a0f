"""The schema in an embedded folder that somebody wrote down, while an application works in it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from datalayer.config import embedded_address
from datalayer.db import migrations
from datalayer.embedded import EmbeddedTimescale

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).parents[3]
HEAD = migrations.history()[-1].id
CLIENTS = 5
MOST_BEATS = 100_000


async def run(folder: Path, *command: str) -> tuple[int | None, str, str]:
    """Run a command in the checkout with the folder's address; returns its exit code and what it printed."""
    environment: Mapping[str, str] = os.environ | {"DATALAYER_DATABASE_URL": embedded_address(folder)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        *command,
        cwd=CHECKOUT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await process.communicate()
    return process.returncode, printed.decode(), said.decode()


async def test_alembic_goes_up_down_and_up_beside_a_running_application(folder: Path) -> None:
    """Every write of the pool is kept, and none of them gets an error, while another process migrates."""
    async with EmbeddedTimescale(folder) as embedded:
        dsn = embedded.url.replace("+asyncpg", "", 1)
        async with asyncpg.create_pool(dsn, min_size=CLIENTS, max_size=CLIENTS) as pool:
            await pool.execute("CREATE TABLE beats (n int PRIMARY KEY)")
            done = asyncio.Event()

            async def beat(first: int) -> int:
                for count in range(MOST_BEATS):
                    if done.is_set():
                        return count
                    async with pool.acquire() as conn, conn.transaction():
                        await conn.execute("INSERT INTO beats VALUES ($1)", first + count)
                raise AssertionError(first)

            application = [asyncio.create_task(beat(n * MOST_BEATS)) for n in range(CLIENTS)]
            for arguments in (["upgrade", "head"], ["downgrade", "base"], ["upgrade", "head"]):
                code, _, said = await run(folder, "-m", "alembic", *arguments)
                assert code == 0, said
            done.set()
            beats = sum(await asyncio.gather(*application))

            assert beats > CLIENTS
            assert await pool.fetchval("SELECT count(*) FROM beats") == beats
            assert await pool.fetchval("SELECT version_num FROM alembic_version") == HEAD


async def test_a_command_says_what_the_start_is_at_and_leaves_the_schema_there(folder: Path) -> None:
    command = "import sys; from datalayer.cli import main; sys.argv[:1] = ['datalayer', 'db']; main()"
    code, printed, said = await run(folder, "-c", command, "upgrade")
    assert (code, printed) == (0, f"{embedded_address(folder)}, schema public: at revision {HEAD}\n"), said
    assert said.splitlines()[-1] == "opening the database"
    assert (await run(folder, "-c", command, "current"))[:2] == (0, f"{HEAD}\n")
