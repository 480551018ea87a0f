"""The pool of the connection manager: what it counts, to whom it belongs, how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datalayer import DatabaseConnectionManager, RetryableDBOperation, Settings
from datalayer.db import migrations
from datalayer.db.copy_transfer import copy_out
from datalayer.errors import (
    ConfigurationError,
    DatabaseClosedError,
    DatabaseError,
    DatabaseUnavailableError,
    EventLoopError,
    OpenTransactionError,
    PoolTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 120


@pytest.fixture
def small(settings: Settings) -> Settings:
    return settings.model_copy(update={"pool_min_size": 2, "pool_max_size": 2, "close_timeout_s": PATIENCE_S})


@pytest.fixture
async def database(small: Settings) -> AsyncIterator[DatabaseConnectionManager]:
    async with DatabaseConnectionManager(small) as database:
        yield database


async def until_waiting(database: DatabaseConnectionManager, callers: int) -> None:
    while database.statistics.waiting < callers:  # noqa: ASYNC110 (the pool has no event for it)
        await asyncio.sleep(0)


async def test_the_smallest_number_of_connections_is_there_from_the_start(
    database: DatabaseConnectionManager,
) -> None:
    opened = database.statistics
    assert (opened.idle, opened.in_use, opened.opened, opened.max_size) == (2, 0, 2, 2)
    async with database.engine.connect() as conn:
        assert await conn.scalar(text("SELECT 1")) == 1
        assert (database.statistics.idle, database.statistics.in_use) == (1, 1)
    assert database.statistics == opened


async def test_waiting_is_counted_and_ends_in_an_error_of_ours(small: Settings) -> None:
    hasty = small.model_copy(update={"pool_timeout_s": 0.01})
    async with DatabaseConnectionManager(hasty) as database:
        async with database.engine.connect(), database.engine.connect():
            with pytest.raises(PoolTimeoutError, match="DATALAYER_POOL_MAX_SIZE") as refused:
                await database.engine.connect()
        assert refused.value.in_use == 2
        assert refused.value.waited_s == 0.01
        after = database.statistics
        assert (after.waits, after.timeouts, after.waiting, after.in_use) == (1, 1, 0, 0)
        assert after.wait_s > 0


async def test_who_waits_gets_the_connection_that_comes_back(database: DatabaseConnectionManager) -> None:
    async def ask() -> object:
        async with database.engine.connect() as conn:
            return await conn.scalar(text("SELECT 7"))

    async with database.engine.connect(), database.engine.connect():
        waiting = [asyncio.create_task(ask()) for _ in range(3)]
        await until_waiting(database, 3)
    assert await asyncio.gather(*waiting) == [7, 7, 7]
    assert database.statistics.waits == 3
    assert database.statistics.opened == 2


async def test_a_second_event_loop_is_told_so(database: DatabaseConnectionManager) -> None:
    async def ask() -> None:
        async with database.engine.connect():
            pytest.fail("connected in the wrong event loop")

    for use in (ask, database.close, database.check_health):
        with pytest.raises(EventLoopError, match="in each event loop"):
            await asyncio.to_thread(asyncio.run, use())
    async with database.engine.connect() as conn:
        assert await conn.scalar(text("SELECT 1")) == 1


async def test_each_event_loop_may_have_its_own(small: Settings) -> None:
    async def ask() -> object:
        async with DatabaseConnectionManager(small) as database, database.engine.connect() as conn:
            return await conn.scalar(text("SELECT 3"))

    assert await asyncio.gather(*(asyncio.to_thread(asyncio.run, ask()) for _ in range(3))) == [3, 3, 3]


async def test_closing_waits_for_what_is_in_use_and_refuses_the_rest(small: Settings) -> None:
    database = await DatabaseConnectionManager(small).open()
    engine = database.engine
    async with engine.connect() as conn:
        closing = asyncio.create_task(database.close())
        refused = False
        while not refused:
            try:
                async with engine.connect():
                    await asyncio.sleep(0)
            except DatabaseClosedError:
                refused = True
        assert not closing.done()
        assert await conn.scalar(text("SELECT 5")) == 5
    assert await closing == ()
    with pytest.raises(DatabaseClosedError):
        await engine.connect()


async def test_what_is_in_use_at_the_deadline_is_cut_off_and_named(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    database = await DatabaseConnectionManager(small.model_copy(update={"close_timeout_s": 0})).open()
    taken = asyncio.Event()

    async def hold() -> None:
        async with database.engine.connect() as conn:
            taken.set()
            while True:
                await conn.execute(text("SELECT 1"))

    holder = asyncio.create_task(hold(), name="the one that stays")
    await taken.wait()
    with caplog.at_level(logging.WARNING):
        cut = await database.close()
    assert len(cut) == 1
    assert cut[0].startswith("the one that stays, ")
    assert "the one that stays" in caplog.text
    with pytest.raises((DBAPIError, DatabaseUnavailableError)):
        await holder


async def test_who_waits_while_it_is_closed_gets_no_connection(small: Settings) -> None:
    database = await DatabaseConnectionManager(small.model_copy(update={"close_timeout_s": 0})).open()
    engine = database.engine
    async with engine.connect(), engine.connect():
        waiting = asyncio.create_task(_ask(database))
        await until_waiting(database, 1)
        assert len(await database.close()) == 2
    with pytest.raises(DatabaseClosedError):
        await waiting


async def _ask(database: DatabaseConnectionManager) -> object:
    async with database.engine.connect() as conn:
        return await conn.scalar(text("SELECT 1"))


def test_a_manager_outlives_its_event_loop_without_harm(small: Settings) -> None:
    database = DatabaseConnectionManager(small.model_copy(update={"pool_min_size": 0}))

    async def open_without_closing() -> None:
        await database.open()
        async with database.engine.connect() as conn:
            driver = (await conn.get_raw_connection()).driver_connection
        assert driver is not None
        driver.terminate()  # what is left behind in the loop is not the point, and would be a warning

    asyncio.run(open_without_closing())
    assert asyncio.run(database.close()) == ()


async def test_a_transaction_that_sqlalchemy_does_not_see_does_not_return_to_the_pool(
    database: DatabaseConnectionManager,
) -> None:
    async with database.engine.connect() as conn:
        driver = (await conn.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("BEGIN")
    assert database.statistics.invalidated == 1
    for _ in range(2):
        async with database.engine.connect() as conn:
            other = (await conn.get_raw_connection()).driver_connection
            assert other is not driver
            assert not other.is_in_transaction()  # type: ignore[union-attr]


async def test_health_is_told_and_not_raised(small: Settings) -> None:
    async with DatabaseConnectionManager(small.model_copy(update={"pool_max_size": 2})) as database:
        health = await database.check_health()
        assert (health.answers, health.read_only, health.reason) == (True, False, None)
        assert health.server_version
        async with database.engine.connect(), database.engine.connect():
            busy = await database.check_health(timeout_s=0.01)
        assert not busy.answers
        assert busy.reason == "no answer in 0.01 s"


async def test_a_retried_operation_inside_an_open_transaction_is_refused(
    database: DatabaseConnectionManager,
) -> None:
    retry = RetryableDBOperation()
    async with database.engine.begin() as conn:
        await conn.execute(text("SELECT 1"))
        with pytest.raises(OpenTransactionError, match="_ask was to be retried inside an open transaction"):
            await retry(_ask, database)
    async with database.engine.connect() as conn:
        assert await retry(_ask, database) == 1
        await conn.execute(text("SELECT 1"))  # SQLAlchemy begins by itself
        with pytest.raises(OpenTransactionError):
            await retry(_ask, database)
        await conn.rollback()
        assert await retry(_ask, database) == 1
    async with database.engine.connect() as conn:
        auto = await conn.execution_options(isolation_level="AUTOCOMMIT")
        await auto.execute(text("SELECT 1"))
        assert await retry(_ask, database) == 1


async def test_another_task_may_retry_while_a_transaction_is_open(
    database: DatabaseConnectionManager,
) -> None:
    retry = RetryableDBOperation()
    async with database.engine.connect() as conn:
        await conn.execute(text("SELECT 1"))
        beside = asyncio.create_task(retry(_ask, database))
        await conn.rollback()  # the embedded database has one session, which a transaction holds
        assert await beside == 1


async def test_an_error_of_the_caller_is_raised_at_once_with_its_sqlstate(
    database: DatabaseConnectionManager,
) -> None:
    async def ask(query: str, **values: object) -> None:
        async with database.engine.connect() as conn:
            await conn.execute(text(query), values)

    for query, sqlstate in [
        ("SELECT nothing", "42703"),
        ("SELECT 1 / 0", "22012"),
        ("INSERT INTO instruments (symbol) VALUES (NULL)", "23502"),
    ]:
        with pytest.raises(DatabaseError) as refused:
            await RetryableDBOperation()(ask, query)
        assert [attempt.sqlstate for attempt in refused.value.attempts] == [sqlstate]
        assert not isinstance(refused.value, DatabaseUnavailableError)
    with pytest.raises(DatabaseError) as refused:
        await RetryableDBOperation()(ask, "SELECT CAST(:n AS int)", n="no number")
    assert len(refused.value.attempts) == 1
    assert not isinstance(refused.value, DatabaseUnavailableError)
    assert database.statistics.invalidated == 0


async def test_a_driver_that_meets_a_read_only_transaction_is_not_used_again(
    database: DatabaseConnectionManager,
) -> None:
    async with database.engine.connect() as conn:
        await conn.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(DatabaseError) as refused:
            await copy_out(conn, "INSERT INTO rejected_records DEFAULT VALUES RETURNING 1", {"n": "int4"})
        assert refused.value.sqlstate == "25006"
        assert conn.invalidated


async def test_a_transaction_that_was_asked_to_be_read_only_says_nothing_about_the_server(
    database: DatabaseConnectionManager,
) -> None:
    async with database.engine.connect() as conn:
        reader = await conn.execution_options(postgresql_readonly=True)
        with pytest.raises(DBAPIError, match="read-only"):
            await reader.execute(text("CREATE TABLE never (id int)"))
        await reader.rollback()
        assert not reader.invalidated


@pytest.mark.native
async def test_a_vanished_server_is_noticed_by_keepalive(database: DatabaseConnectionManager) -> None:
    async with database.engine.connect() as conn:
        driver = (await conn.get_raw_connection()).driver_connection
        assert driver is not None
        open_socket = driver._transport.get_extra_info("socket")
        assert open_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.mark.native
async def test_a_statement_has_the_configured_limit(small: Settings) -> None:
    async with DatabaseConnectionManager(small.model_copy(update={"statement_timeout_s": 0.2})) as database:
        with pytest.raises(DatabaseError, match="statement timeout") as refused:
            async with database.engine.connect() as conn:
                await copy_out(conn, "SELECT 1 FROM pg_sleep(600)", {"n": "int4"})
        assert refused.value.sqlstate == "57014"


async def test_address_and_setting_may_not_both_say_how_to_encrypt() -> None:
    url = "postgresql://u:hunter2@127.0.0.1:1/d?sslmode=verify-full"
    with pytest.raises(ConfigurationError, match="DATALAYER_TLS") as refused:
        await DatabaseConnectionManager(Settings.load(database_url=url, tls="prefer")).open()
    assert "hunter2" not in str(refused.value)


async def test_migrations_do_not_go_through_a_transaction_pooler() -> None:
    pooled = Settings.load(database_url="postgresql://u@127.0.0.1:1/d", pooler="transaction")
    with pytest.raises(ConfigurationError, match="without DATALAYER_POOLER"):
        await migrations.upgrade(pooled)
