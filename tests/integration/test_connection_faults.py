"""What servers do to connections, done to a server of the test's own: the pool recovers, and no answer is a wrong one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datalayer import DatabaseConnectionManager, Settings
from datalayer.db.connection import create_engine
from datalayer.db.retry import RetryableDBOperation
from datalayer.errors import DatabaseError, DatabaseUnavailableError
from tests.own_cluster import OwnCluster, needs_own_cluster, new_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = needs_own_cluster

PATIENCE_S = 120  # how long a test waits for what must come; no test takes it


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with new_cluster() as cluster, cluster.running():
        yield cluster


@pytest.fixture
def settings(cluster: OwnCluster) -> Settings:
    return Settings.load(
        database_url=cluster.url,
        pool_min_size=2,
        pool_max_size=4,
        connect_timeout_s=5,
        ping_timeout_s=1,
        close_timeout_s=1,
    )


@pytest.fixture
async def database(settings: Settings, cluster: OwnCluster) -> AsyncIterator[DatabaseConnectionManager]:
    await cluster.execute("DROP TABLE IF EXISTS written", "CREATE TABLE written (id int PRIMARY KEY)")
    async with DatabaseConnectionManager(settings) as database:
        yield database


async def backend(database: DatabaseConnectionManager) -> int:
    async with database.engine.connect() as conn:
        return int((await conn.scalars(text("SELECT pg_backend_pid()"))).one())


async def write(database: DatabaseConnectionManager, number: int) -> None:
    async with database.engine.begin() as conn:
        await conn.execute(text("INSERT INTO written VALUES (:id) ON CONFLICT DO NOTHING"), {"id": number})


async def written(database: DatabaseConnectionManager) -> list[int]:
    async with database.engine.connect() as conn:
        return list((await conn.scalars(text("SELECT id FROM written ORDER BY id"))).all())


async def answers_are_its_own(database: DatabaseConnectionManager) -> None:
    """Ask more different questions at once than there are connections."""

    async def ask(number: int) -> None:
        async with database.engine.connect() as conn:
            for n in (number, -number):
                assert await conn.scalar(text("SELECT CAST(:n AS int)"), {"n": n}) == n

    await asyncio.gather(*(ask(number) for number in range(20)))


async def until_active(cluster: OwnCluster, query: str) -> int:
    """Wait until a server process runs a query; return its process number."""
    async with (
        asyncio.timeout(PATIENCE_S),
        DatabaseConnectionManager(Settings.load(database_url=cluster.url)) as other,
        other.engine.connect() as conn,
    ):
        auto = await conn.execution_options(isolation_level="AUTOCOMMIT")
        found = None
        while found is None:
            found = await auto.scalar(
                text("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query = :query"),
                {"query": query},
            )
        return int(found)


async def test_a_killed_backend_does_not_come_out_of_the_pool(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    for _ in range(30):
        pid = await backend(database)
        await cluster.execute(f"SELECT pg_terminate_backend({pid})")
        assert await backend(database) != pid
    assert database.statistics.invalidated >= 30
    await answers_are_its_own(database)


async def test_a_write_whose_backend_is_killed_is_repeated_and_done_once(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    tries = 0

    async def kill_and_write() -> None:
        nonlocal tries
        tries += 1
        async with database.engine.begin() as conn:
            await conn.execute(text("INSERT INTO written VALUES (1)"))
            if tries == 1:
                pid = await conn.scalar(text("SELECT pg_backend_pid()"))
                await cluster.execute(f"SELECT pg_terminate_backend({pid})")
            await conn.execute(text("INSERT INTO written VALUES (2)"))

    await RetryableDBOperation(deadline_s=PATIENCE_S)(kill_and_write)
    assert tries == 2
    assert await written(database) == [1, 2]


async def test_a_statement_cancelled_by_the_server_leaves_its_connection_usable(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    pid = await backend(database)

    async def sleep() -> None:
        async with database.engine.begin() as conn:
            await conn.execute(text("SELECT pg_sleep(600)"))

    running = asyncio.create_task(RetryableDBOperation(deadline_s=PATIENCE_S)(sleep))
    await until_active(cluster, "SELECT pg_sleep(600)")
    await cluster.execute(f"SELECT pg_cancel_backend({pid})")
    with pytest.raises(DatabaseError, match="user request") as cancelled:
        await running
    assert [attempt.sqlstate for attempt in cancelled.value.attempts] == ["57014"]
    assert await backend(database) == pid


async def test_a_cancelled_task_takes_its_connection_with_it(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    async def sleep() -> None:
        async with database.engine.begin() as conn:
            await conn.execute(text("SELECT pg_sleep(600)"))

    running = asyncio.create_task(sleep())
    pid = await until_active(cluster, "SELECT pg_sleep(600)")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await backend(database) != pid
    assert database.statistics.invalidated == 1


async def test_cancelling_at_any_moment_gives_nobody_a_wrong_answer(
    database: DatabaseConnectionManager,
) -> None:
    """Each task is cancelled after another number of turns of the event loop: while it gets a connection, asks, reads."""

    async def ask(number: int) -> None:
        async with database.engine.begin() as conn:
            for n in (number, number + 1):
                assert await conn.scalar(text("SELECT CAST(:n AS int)"), {"n": n}) == n

    async def cancel_after(turns: int) -> None:
        task = asyncio.create_task(ask(turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return

    for first in range(0, 120, 6):
        await asyncio.gather(*(cancel_after(turns) for turns in range(first, first + 6)), ask(10_000))
    await answers_are_its_own(database)
    assert database.statistics.in_use == 0


async def test_a_restart_of_the_server_is_survived(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    retry = RetryableDBOperation(deadline_s=PATIENCE_S, wait_max_s=0.5)
    under_way = asyncio.Event()

    async def writer(first: int) -> None:
        for number in range(first, 400, 4):
            await retry(write, database, number)
            if number > 40:
                under_way.set()

    writers = [asyncio.create_task(writer(first)) for first in range(4)]
    await under_way.wait()
    await asyncio.to_thread(cluster.stop)
    with pytest.raises(DatabaseUnavailableError):
        async with database.engine.connect():
            pytest.fail("connected to a server that is down")
    await asyncio.to_thread(cluster.start)
    await asyncio.gather(*writers)
    assert await written(database) == list(range(400))
    assert database.statistics.reconnects >= 1
    await answers_are_its_own(database)


async def test_those_who_wait_for_a_connection_learn_that_none_can_be_made(
    settings: Settings, cluster: OwnCluster
) -> None:
    """Room in the pool that a failed attempt leaves is for the next one; nobody sleeps until the pool's timeout."""
    patient = settings.model_copy(update={"pool_max_size": 1, "pool_timeout_s": 10 * PATIENCE_S})
    engine = create_engine(patient.require_url(), patient)  # nothing was connected yet

    async def ask() -> object:
        async with engine.connect() as conn:
            return await conn.scalar(text("SELECT 1"))

    await asyncio.to_thread(cluster.stop)
    try:
        async with asyncio.timeout(PATIENCE_S):
            outcomes = await asyncio.gather(*(ask() for _ in range(10)), return_exceptions=True)
    finally:
        await asyncio.to_thread(cluster.start)
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailableError}
    assert await asyncio.gather(*(ask() for _ in range(10))) == [1] * 10
    await engine.dispose()


async def test_a_paused_server_is_an_error_with_an_end_and_then_works_again(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    before = await backend(database)
    with cluster.paused():
        with pytest.raises(DatabaseUnavailableError):
            await backend(database)
        health = await database.check_health(timeout_s=1)
        assert not health.answers
        assert health.reason
    async with asyncio.timeout(PATIENCE_S):
        assert await RetryableDBOperation(deadline_s=PATIENCE_S)(backend, database) != before
    await answers_are_its_own(database)
    assert (await database.check_health()).answers


async def test_a_statement_under_way_when_the_server_pauses_is_given_up(
    settings: Settings, cluster: OwnCluster
) -> None:
    limited = settings.model_copy(update={"statement_timeout_s": 1.0})
    async with DatabaseConnectionManager(limited) as database:
        async with database.engine.connect() as conn:
            pid = await conn.scalar(text("SELECT pg_backend_pid()"))
            with cluster.paused(), pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
                await conn.execute(text("SELECT 1"))
            assert conn.invalidated
        assert await RetryableDBOperation(deadline_s=PATIENCE_S)(backend, database) != pid
        await answers_are_its_own(database)


async def test_closing_on_a_paused_server_has_an_end(settings: Settings, cluster: OwnCluster) -> None:
    database = await DatabaseConnectionManager(settings).open()
    with cluster.paused():
        async with asyncio.timeout(PATIENCE_S):
            assert await database.close() == ()


async def test_what_is_just_being_connected_at_the_end_does_not_stay_open(
    settings: Settings, cluster: OwnCluster
) -> None:
    patient = settings.model_copy(update={"connect_timeout_s": PATIENCE_S, "close_timeout_s": 0})
    database = await DatabaseConnectionManager(patient.model_copy(update={"pool_min_size": 0})).open()
    engine = database.engine

    async def connect() -> Any:
        async with engine.connect() as conn:
            return (await conn.get_raw_connection()).driver_connection

    async with engine.connect():  # the one that is there already
        with cluster.paused():
            connecting = asyncio.create_task(connect())
            while database.statistics.in_use < 2:  # noqa: ASYNC110 (the pool has no event for it)
                await asyncio.sleep(0)
            assert len(await database.close()) == 2
    assert (await connecting).is_closed()


async def test_a_retry_spans_a_pause(database: DatabaseConnectionManager, cluster: OwnCluster) -> None:
    pause = cluster.paused()
    await write(database, 0)
    pause.__enter__()
    tries = 0

    async def write_again() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            pause.__exit__(None, None, None)
        await write(database, 1)

    await RetryableDBOperation(deadline_s=PATIENCE_S)(write_again)
    assert tries >= 2
    assert await written(database) == [0, 1]


@pytest.fixture
async def read_only_server(cluster: OwnCluster) -> AsyncIterator[None]:
    yield
    await cluster.execute(
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "ALTER DATABASE postgres RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    )
    await until_default_is(cluster, "off")


async def until_default_is(cluster: OwnCluster, value: str) -> None:
    """Wait until new sessions start like this; a reload takes its time."""
    async with asyncio.timeout(PATIENCE_S):
        found = None
        while found != value:
            connection = await asyncpg.connect(cluster.url.replace("+asyncpg", ""))
            found = await connection.fetchval("SHOW default_transaction_read_only")
            await connection.close()


@pytest.mark.usefixtures("read_only_server")
async def test_a_server_that_turns_read_only_loses_its_connections(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    before = await backend(database)
    await cluster.execute("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    await until_default_is(cluster, "on")
    async with asyncio.timeout(PATIENCE_S):
        while await backend(database) == before:  # until its process has read the configuration, too
            pass
    assert (await database.check_health()).read_only
    with pytest.raises(DBAPIError, match="read-only transaction"):
        await write(database, 1)

    tries = 0

    async def write_when_it_may() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            await cluster.execute(
                "SET default_transaction_read_only = off",
                "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            )
            await until_default_is(cluster, "off")
        await write(database, 2)

    await RetryableDBOperation(deadline_s=PATIENCE_S)(write_when_it_may)
    assert await written(database) == [2]


@pytest.mark.usefixtures("read_only_server")
async def test_a_connection_that_met_a_read_only_database_is_not_used_again(
    settings: Settings, database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    await cluster.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailableError, match="None of the hosts match"):
        await DatabaseConnectionManager(
            settings.model_copy(update={"target_session_attrs": "read-write"})
        ).open()
    async with DatabaseConnectionManager(settings) as late:
        idle = late.statistics.idle
        assert await backend(late) == await backend(late)  # one that only reads is served
        with pytest.raises(DatabaseError) as refused:
            await RetryableDBOperation(max_attempts=2)(write, late, 1)
        assert [attempt.sqlstate for attempt in refused.value.attempts] == ["25006", "25006"]
        await cluster.execute(
            "SET default_transaction_read_only = off",
            "ALTER DATABASE postgres RESET default_transaction_read_only",
        )
        await asyncio.gather(*(write(late, number) for number in range(10)))
        assert late.statistics.reconnects >= idle
    assert await written(database) == list(range(10))


async def test_a_statement_prepared_before_the_table_changed_is_retried(
    database: DatabaseConnectionManager, cluster: OwnCluster
) -> None:
    async def columns() -> int:
        async with database.engine.connect() as conn:
            return len((await conn.execute(text("SELECT * FROM written"))).keys())

    retry = RetryableDBOperation(deadline_s=PATIENCE_S)
    for expected in (1, 2, 3):
        for _ in range(2):
            assert await retry(columns) == expected
        await cluster.execute(f"ALTER TABLE written ADD COLUMN c{expected} int")


async def test_a_deadlock_is_retried(database: DatabaseConnectionManager) -> None:
    await asyncio.gather(write(database, 1), write(database, 2))
    both_hold_one = asyncio.Barrier(2)
    tries = 0

    async def lock(first: int, second: int) -> None:
        nonlocal tries
        tries += 1
        meet = tries <= 2
        async with database.engine.begin() as conn:
            await conn.execute(text("SELECT FROM written WHERE id = :id FOR UPDATE"), {"id": first})
            if meet:
                await both_hold_one.wait()
            await conn.execute(text("SELECT FROM written WHERE id = :id FOR UPDATE"), {"id": second})

    retry = RetryableDBOperation(deadline_s=PATIENCE_S)
    await asyncio.gather(retry(lock, 1, 2), retry(lock, 2, 1))
    assert tries == 3
