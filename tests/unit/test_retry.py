"""What is tried again, what is not, how long, and what is said about it. Real faults are in the integration tests."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest

from datalayer.db.retry import RetryableDBOperation
from datalayer.errors import (
    DatabaseClosedError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidInputError,
    PoolTimeoutError,
    UnsupportedServerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSING = "08000 08001 08003 08004 08006 57P01 57P02 57P03 57P05 25P03 25P04 53300 40P01 40001 25006".split()  # noqa: SIM905 (a table)
LASTING = "23505 23514 22003 42601 42501 42P01 57014 57P04 53100 28P01 3D000 XX000 0A000 25P02".split()  # noqa: SIM905 (a table)


class Fails:
    """An operation that raises these errors in turn and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors: Iterator[BaseException] = iter(errors)
        self.tries = 0

    async def __call__(self, answer: int = 42) -> int:
        self.tries += 1
        for error in self.errors:
            raise error
        return answer


def quick(**options: float) -> RetryableDBOperation:
    return RetryableDBOperation(wait_initial_s=0.001, wait_max_s=0.002, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sqlstate", PASSING)
async def test_what_passes_is_tried_again(sqlstate: str) -> None:
    operation = Fails(DatabaseError("no", sqlstate), DatabaseUnavailableError("no", sqlstate))
    assert await quick()(operation, answer=7) == 7
    assert operation.tries == 3


@pytest.mark.parametrize("sqlstate", LASTING)
async def test_what_lasts_is_raised_at_once(sqlstate: str) -> None:
    operation = Fails(DatabaseError("no", sqlstate))
    with pytest.raises(DatabaseError) as refused:
        await quick()(operation)
    assert operation.tries == 1
    assert [attempt.sqlstate for attempt in refused.value.attempts] == [sqlstate]


async def test_a_refused_login_is_raised_at_once_though_it_makes_the_database_unavailable() -> None:
    operation = Fails(DatabaseUnavailableError("no database answers", "28P01"))
    with pytest.raises(DatabaseUnavailableError):
        await quick()(operation)
    assert operation.tries == 1


@pytest.mark.parametrize(
    "error",
    [DatabaseUnavailableError("gone"), PoolTimeoutError(5, 1.0), asyncpg.ConnectionDoesNotExistError("gone")],
)
async def test_no_answer_at_all_is_tried_again(error: Exception) -> None:
    operation = Fails(error)
    assert await quick()(operation) == 42
    assert operation.tries == 2


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), FileNotFoundError("no"), TimeoutError("of the operation's own"), UnsupportedServerError("no"),
     DatabaseClosedError("closed"), KeyboardInterrupt()],
)  # fmt: skip
async def test_what_is_no_fault_of_the_connection_is_raised_as_it_is(error: BaseException) -> None:
    operation = Fails(error)
    with pytest.raises(type(error)) as raised:
        await quick()(operation)
    assert raised.value is error
    assert operation.tries == 1


async def test_an_error_of_the_driver_becomes_ours_with_its_cause() -> None:
    driver = asyncpg.UniqueViolationError("twice")
    with pytest.raises(DatabaseError, match="twice") as raised:
        await quick()(Fails(driver))
    assert raised.value.__cause__ is driver
    assert raised.value.sqlstate == "23505"


async def test_the_last_error_is_raised_with_the_history() -> None:
    before = datetime.now(UTC)
    last = DatabaseError("third", "40001")
    operation = Fails(
        DatabaseError("first", "40P01"), DatabaseUnavailableError("second"), last, DatabaseError("never")
    )
    with pytest.raises(DatabaseError) as raised:
        await quick(max_attempts=3)(operation)
    assert raised.value is last
    attempts = raised.value.attempts
    assert [(attempt.sqlstate, attempt.reason) for attempt in attempts] == [
        ("40P01", "first"),
        (None, "second"),
        ("40001", "third"),
    ]
    starts = [attempt.started_at for attempt in attempts]
    assert before <= starts[0] <= starts[1] <= starts[2] <= datetime.now(UTC)
    assert all(attempt.duration_s >= 0 for attempt in attempts)


async def test_each_failed_try_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="datalayer.db.retry")

    async def save() -> None:
        await operation()

    operation = Fails(*(DatabaseError(f"fault {n}", "40001") for n in range(3)))
    with pytest.raises(DatabaseError):
        await quick(max_attempts=3)(save)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    for number, line in enumerate(lines):
        assert re.search(rf"save: try {number + 1} failed after .* \(SQLSTATE 40001\): fault {number};", line)
    assert [line.rpartition("; ")[2].split(" in ")[0] for line in lines] == ["again", "again", "given up"]
    assert await quick()(Fails()) == 42
    assert len(caplog.records) == 3


async def test_a_cancelled_task_stops_at_once_in_a_try_and_between_two() -> None:
    reached = asyncio.Event()

    async def hangs() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def fails() -> None:
        reached.set()
        raise DatabaseUnavailableError("gone")

    patient = RetryableDBOperation(deadline_s=10_000, wait_initial_s=5_000, wait_max_s=5_000)
    for operation in (hangs, fails):
        reached.clear()
        task = asyncio.create_task(patient(operation))
        await reached.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_try_under_way_at_the_deadline_is_cut_off() -> None:
    was_cut = asyncio.Event()

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cut.set()
            raise

    with pytest.raises(DatabaseUnavailableError, match="was cut off") as raised:
        await quick(deadline_s=0.05)(hangs)
    assert was_cut.is_set()
    assert len(raised.value.attempts) == 1


async def test_no_wait_goes_beyond_the_deadline() -> None:
    """The first wait is longer than the deadline with certainty beyond chance: the error comes without any wait."""

    async def fails() -> None:
        raise DatabaseUnavailableError("gone")

    with pytest.raises(DatabaseUnavailableError, match="gone") as raised:
        await RetryableDBOperation(deadline_s=0.000_001, wait_initial_s=1e9, wait_max_s=1e9)(fails)
    assert len(raised.value.attempts) == 1


async def test_a_decorated_method_keeps_its_name_and_takes_its_arguments() -> None:
    retry = quick()
    fails = Fails(DatabaseUnavailableError("gone"))

    class Repository:
        @retry.decorate
        async def read(self, symbol: str, *, limit: int) -> tuple[str, int, int]:
            """Read."""
            return symbol, limit, await fails()

    assert await Repository().read("BTC/USDT", limit=5) == ("BTC/USDT", 5, 42)
    assert fails.tries == 2
    assert (Repository.read.__name__, Repository.read.__doc__) == ("read", "Read.")


@pytest.mark.parametrize("name", ["deadline_s", "max_attempts", "wait_initial_s", "wait_max_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_number_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=name):
        RetryableDBOperation(**{name: value})  # type: ignore[arg-type]
