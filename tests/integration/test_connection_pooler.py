"""The preset for a transaction pooler, behind a real PgBouncer of the test's own, in front of a server of its own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer import DatabaseConnectionManager, Settings
from datalayer.db.retry import RetryableDBOperation
from datalayer.errors import DatabaseUnavailableError
from tests.own_cluster import AS_USER, OwnCluster, folder_of_server, free_port, needs_own_cluster, new_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
SERVER_CONNECTIONS = 3
PATIENCE_S = 120

pytestmark = [
    *needs_own_cluster,
    pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on this machine"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with new_cluster() as cluster, cluster.running():
        yield cluster


@pytest.fixture(scope="module")
def pooler_url(cluster: OwnCluster) -> Iterator[str]:
    port = free_port()
    configuration = f"""
        [databases]
        * = host=127.0.0.1 port={cluster.port} user=postgres
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = {SERVER_CONNECTIONS}
    """
    with tempfile.TemporaryDirectory() as parent:
        folder = folder_of_server(Path(parent), "pgbouncer")
        (folder / "pgbouncer.ini").write_text("\n".join(line.strip() for line in configuration.splitlines()))
        if AS_USER:
            shutil.chown(folder / "pgbouncer.ini", AS_USER["user"])
        command = [str(PGBOUNCER), str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **AS_USER)
        try:
            yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
        finally:
            process.kill()
            process.wait()


@pytest.fixture
async def database(pooler_url: str) -> AsyncIterator[DatabaseConnectionManager]:
    settings = Settings.load(
        database_url=pooler_url,
        database_schema='Odd "name"',
        pooler="transaction",
        pool_max_size=4 * SERVER_CONNECTIONS,
        statement_timeout_s=PATIENCE_S,
    )
    database = DatabaseConnectionManager(settings)
    # The pooler has just been started; `open` closes what it began when it fails.
    await RetryableDBOperation(deadline_s=PATIENCE_S)(database.open)
    yield database
    await database.close()


async def test_more_callers_than_server_connections_each_get_their_own_answers(
    database: DatabaseConnectionManager,
) -> None:
    async def ask(number: int) -> None:
        for n in range(20):
            async with database.engine.begin() as conn:
                query = text(f"SELECT CAST(:n AS int) + {number}")  # another statement for each caller
                assert await conn.scalar(query, {"n": n}) == n + number
                await asyncio.sleep(0)
                assert await conn.scalar(query, {"n": -n}) == number - n

    await asyncio.gather(*(ask(number) for number in range(0, 2000, 100)))
    async with database.engine.begin() as conn:
        left_behind = await conn.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
        assert left_behind == 0


async def test_every_transaction_has_the_configured_session(database: DatabaseConnectionManager) -> None:
    names = (
        "search_path",
        "TimeZone",
        "jit",
        "constraint_exclusion",
        "statement_timeout",
        "application_name",
    )
    questions = ", ".join(f"current_setting('{name}')" for name in names)

    async def session() -> tuple[object, ...]:
        async with database.engine.begin() as conn:
            return tuple((await conn.execute(text(f"SELECT {questions}"))).one())

    for found in await asyncio.gather(*(session() for _ in range(20))):
        assert found == ('"Odd ""name""", public', "UTC", "off", "off", "2min", "datalayer")


async def test_json_and_many_rows_work(database: DatabaseConnectionManager) -> None:
    async with database.engine.begin() as conn:
        assert await conn.scalar(text("SELECT jsonb_build_object('a', 1)")) == {"a": 1}
        await conn.execute(text("CREATE TEMPORARY TABLE many (n int) ON COMMIT DROP"))
        await conn.execute(text("INSERT INTO many VALUES (:n)"), [{"n": n} for n in range(1000)])
        stream = await conn.stream(text("SELECT n FROM many ORDER BY n"))
        assert [row.n async for row in stream] == list(range(1000))


async def test_outside_of_transactions_a_statement_is_its_own(database: DatabaseConnectionManager) -> None:
    """The pooler may give its second half to another server connection. It must not find somebody else's there."""

    async def ask(number: int) -> None:
        async with database.engine.connect() as conn:
            auto = await conn.execution_options(isolation_level="AUTOCOMMIT")
            for n in range(20):
                assert await auto.scalar(text(f"SELECT CAST(:n AS int) + {number}"), {"n": n}) == n + number

    await asyncio.gather(*(ask(number) for number in range(0, 2000, 100)))


async def test_a_server_connection_that_is_killed_is_survived(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    tries = 0

    async def killed_once() -> object:
        nonlocal tries
        tries += 1
        async with database.engine.begin() as conn:
            if tries == 1:
                pid = await conn.scalar(text("SELECT pg_backend_pid()"))
                await cluster.execute(f"SELECT pg_terminate_backend({pid})")
            return await conn.scalar(text("SELECT 9"))

    assert await RetryableDBOperation(deadline_s=PATIENCE_S)(killed_once) == 9
    assert tries == 2


async def test_without_the_preset_the_pooler_refuses_in_one_sentence(
    database: DatabaseConnectionManager, pooler_url: str
) -> None:
    assert database.statistics.idle
    with pytest.raises(DatabaseUnavailableError, match="unsupported startup parameter"):
        await DatabaseConnectionManager(Settings.load(database_url=pooler_url)).open()
