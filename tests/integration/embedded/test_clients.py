"""Many clients on the one session behind the bridge, each as if it were alone."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from conftest import RunChild

    from datalayer.embedded import EmbeddedTimescale

CLIENTS = 5
ROUNDS = 20


async def test_pooled_transactions_of_asyncpg_do_not_interleave(dsn: str) -> None:
    async def add(pool: asyncpg.Pool, round_no: int) -> None:
        async with pool.acquire() as conn, conn.transaction():
            balance = await conn.fetchval(
                "SELECT balance FROM accounts"
            )  # no lock: interleaving would lose an update
            await asyncio.sleep(0)
            await conn.execute("UPDATE accounts SET balance = $1", balance + 1)
            if round_no % 4 == 0:
                raise _Undone

    async with asyncpg.create_pool(dsn, min_size=CLIENTS, max_size=CLIENTS) as pool:
        await pool.execute("CREATE TABLE accounts AS SELECT 0 AS balance")
        outcomes = await asyncio.gather(
            *(add(pool, n) for n in range(CLIENTS * ROUNDS)), return_exceptions=True
        )
        assert sum(isinstance(outcome, _Undone) for outcome in outcomes) == CLIENTS * ROUNDS // 4
        assert await pool.fetchval("SELECT balance FROM accounts") == CLIENTS * ROUNDS * 3 // 4


class _Undone(Exception):  # noqa: N818 - a request, not an error
    pass


async def test_a_sqlalchemy_pool_commits_and_rolls_back_each_on_its_own(server: EmbeddedTimescale) -> None:
    engine = create_async_engine(server.url, pool_size=CLIENTS, max_overflow=0)

    async def write(number: int) -> None:
        async with engine.connect() as conn:
            await conn.execute(text("INSERT INTO notes VALUES (:n)"), {"n": number})
            await asyncio.sleep(0)
            await (conn.rollback() if number % 2 else conn.commit())

    try:
        async with engine.begin() as conn:
            await conn.execute(text("CREATE TABLE notes (n int)"))
        await asyncio.gather(*(write(number) for number in range(50)))
        async with engine.connect() as conn:
            kept = (await conn.execute(text("SELECT n FROM notes ORDER BY n"))).scalars().all()
    finally:
        await engine.dispose()
    assert kept == list(range(0, 50, 2))


async def test_ddl_in_a_transaction_beside_a_running_app(dsn: str) -> None:
    """As Alembic does it: hypertable, column and index in one transaction, while a pool keeps writing."""
    async with asyncpg.create_pool(dsn, min_size=CLIENTS, max_size=CLIENTS) as pool:
        await pool.execute("CREATE TABLE beats (n int)")
        migrated = asyncio.Event()

        async def app(number: int) -> int:
            beats = 0
            while not migrated.is_set() or beats < ROUNDS:
                await pool.execute("INSERT INTO beats VALUES ($1)", number)
                beats += 1
            return beats

        async def migrate() -> None:
            conn = await asyncpg.connect(dsn)
            async with conn.transaction():
                await conn.execute("CREATE TABLE ticks (ts timestamptz NOT NULL, v int)")
                await conn.execute("SELECT create_hypertable('ticks', 'ts')")
                await asyncio.sleep(0.05)
                await conn.execute("ALTER TABLE beats ADD COLUMN at timestamptz DEFAULT now()")
                await conn.execute("CREATE INDEX ON beats (n)")
            await conn.close()
            migrated.set()

        *beats, _ = await asyncio.gather(app(1), app(2), app(3), migrate())
        assert await pool.fetchval("SELECT count(*) FROM beats") == sum(beats)
        assert await pool.fetchval("SELECT count(at) FROM beats") == sum(beats)


def test_psycopg_pipelines(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn, conn.pipeline():
        conn.execute("CREATE TABLE piped (n int)")
        for number in range(100):
            conn.execute("INSERT INTO piped VALUES (%s)", [number])
        found = conn.execute("SELECT count(*), sum(n) FROM piped").fetchone()
    assert found == (100, 4950)


def test_an_error_in_a_pipeline_leaves_the_connection_usable(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero), conn.pipeline():
            conn.execute("SELECT 1 / 0")
        assert conn.execute("SELECT 42").fetchone() == (42,)


def test_psql_works(server: EmbeddedTimescale) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")
    host = server.status().socket_dir
    run = subprocess.run(
        [psql, "-X", "-At", "-h", host, "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1"],
        input="BEGIN; CREATE TABLE by_psql (n int);\nINSERT INTO by_psql VALUES (7); COMMIT;\n"
        "COPY by_psql FROM stdin;\n8\n9\n\\.\n\\dt by_psql\nSELECT sum(n) FROM by_psql;\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-2:] == ["public|by_psql|table|postgres", "24"]


async def test_prepared_statements_of_the_same_name_do_not_collide(dsn: str) -> None:
    connections = [await asyncpg.connect(dsn) for _ in range(CLIENTS)]
    statements = [
        await conn.prepare(f"SELECT {number} + $1::int", name="same")
        for number, conn in enumerate(connections)
    ]
    answers = await asyncio.gather(*(statement.fetchval(100) for statement in statements))
    for conn in connections:
        await conn.close()
    assert answers == [100, 101, 102, 103, 104]


async def test_settings_do_not_leak_between_clients(dsn: str) -> None:
    first = await asyncpg.connect(
        dsn, server_settings={"search_path": "pg_catalog", "timezone": "Asia/Tokyo"}
    )
    second = await asyncpg.connect(dsn)
    await first.execute("SET work_mem = '7MB'; SET statement_timeout = '9s'")
    show = "SELECT current_setting('search_path'), current_setting('TimeZone'), current_setting('work_mem')"
    assert tuple(await second.fetchrow(show)) == ('"$user", public', "UTC", "4MB")
    assert tuple(await first.fetchrow(show)) == ("pg_catalog", "Asia/Tokyo", "7MB")
    await first.close()
    assert tuple(await second.fetchrow(show)) == ('"$user", public', "UTC", "4MB")
    await second.close()


async def test_a_pooled_connection_is_reset_to_its_own_start(dsn: str) -> None:
    async with asyncpg.create_pool(
        dsn, min_size=1, max_size=1, server_settings={"timezone": "Asia/Tokyo"}
    ) as pool:
        await pool.execute("SET work_mem = '7MB'")
        async with pool.acquire() as conn:  # asyncpg sent RESET ALL in between
            assert await conn.fetchval("SHOW work_mem") == "4MB"
            assert await conn.fetchval("SHOW timezone") == "Asia/Tokyo"


async def test_a_listener_hears_another_client(dsn: str) -> None:
    listener, other = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await listener.add_listener("news", lambda *message: heard.set_result(message[3]))
    await other.execute("NOTIFY news, 'hello'")
    assert await asyncio.wait_for(heard, 10) == "hello"
    await listener.close()
    await other.close()


async def test_a_client_killed_inside_a_transaction_is_rolled_back(dsn: str, run_child: RunChild) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute("CREATE TABLE halves (n int)")
    code = """
        import sys, psycopg
        conn = psycopg.connect(sys.argv[1])
        conn.execute("INSERT INTO halves SELECT generate_series(1, 1000)")
        print("inside", flush=True)
        sys.stdin.read()
    """
    with run_child(code, dsn) as child:
        assert await asyncio.to_thread(child.stdout.readline) == "inside\n"
        waiting = asyncio.create_task(conn.fetchval("SELECT count(*) FROM halves"))
        await asyncio.sleep(0.1)
        assert not waiting.done(), "the child's transaction must hold the session"
        child.send_signal(signal.SIGKILL)
        assert await asyncio.wait_for(waiting, 10) == 0
    await conn.close()


async def test_an_idle_clients_end_touches_nobody(dsn: str, run_child: RunChild) -> None:
    code = """
        import sys, psycopg
        conn = psycopg.connect(sys.argv[1], autocommit=True)
        conn.execute("SET work_mem = '9MB'")
        print("idle", flush=True)
        sys.stdin.read()
    """
    conn = await asyncpg.connect(dsn)
    with run_child(code, dsn) as child:
        assert await asyncio.to_thread(child.stdout.readline) == "idle\n"
        async with conn.transaction():
            await conn.execute("CREATE TABLE kept (n int)")
            child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(child.wait)
            await conn.execute("INSERT INTO kept VALUES (1)")
        assert await conn.fetchval("SELECT count(*) FROM kept") == 1
        assert await conn.fetchval("SHOW work_mem") == "4MB"
    await conn.close()
