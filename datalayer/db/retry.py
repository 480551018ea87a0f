"""Repeating what failed for a passing reason."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import asyncpg
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    stop_never,
    wait_random_exponential,
)

from datalayer.db.driver_errors import database_errors_translated
from datalayer.db.open_transactions import task_has_open_transaction
from datalayer.db.sqlstate import DEADLOCK, READ_ONLY, SERIALIZATION_FAILURE, UNAVAILABLE
from datalayer.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    FailedAttempt,
    InvalidInputError,
    OpenTransactionError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_PASSING: Final = (*UNAVAILABLE, READ_ONLY, SERIALIZATION_FAILURE, DEADLOCK)


class RetryableDBOperation:
    """Runs an operation again when the database failed it for a passing reason.

    Again: no connection or a lost one (SQLSTATE class 08, or no answer at all), a server that shuts down or starts
    (57P01 to 57P03) or ended the session for being idle (57P05, 25P03, 25P04), too many connections (53300), all of the
    pool in use, a deadlock (40P01), a serialization failure (40001), a server that turned read-only (25006), a statement
    that was prepared before a table changed. At once raised: everything else, such as integrity (23), data (22), syntax
    and permission (42), a cancelled statement or a statement timeout (57014), and any error that is not the database's.

    The operation must be idempotent: a connection may be lost after the COMMIT has been carried out and before the
    answer has come, and then it runs a second time. All writes of this library are. It opens its own transaction; inside
    an open one it is refused, since a failed statement has spoilt all of that transaction.

        retry = RetryableDBOperation(deadline_s=10)

        async def write() -> WriteCounts:
            async with database.engine.begin() as conn:
                return await CandleRepository(conn).upsert_candles("BTC/USDT", "1m", frame)

        counts = await retry(write)

        @retry.decorate
        async def latest(symbol: str) -> pd.DataFrame: ...

    Between two tries it waits a random time, up to `wait_initial_s` first and up to twice as long each further time.
    Each failed try is logged once, as a warning. An instance keeps no state: it may be shared.

    Args:
        deadline_s: seconds for everything; no try begins after them, and one that is under way is cut off.
        max_attempts: most tries; None: as many as the deadline allows.
        wait_initial_s: longest wait before the second try.
        wait_max_s: longest wait between two tries.
        on_retry: called with each try that failed and is followed by another; it must be quick, and must not raise.

    Raises:
        InvalidInputError: a number is not positive.
    """

    def __init__(
        self,
        *,
        deadline_s: float = 30.0,
        max_attempts: int | None = None,
        wait_initial_s: float = 0.1,
        wait_max_s: float = 5.0,
        on_retry: Callable[[FailedAttempt], None] | None = None,
    ) -> None:
        self.deadline_s = _positive("deadline_s", deadline_s)
        self.max_attempts = None if max_attempts is None else int(_positive("max_attempts", max_attempts))
        self.wait_initial_s = _positive("wait_initial_s", wait_initial_s)
        self.wait_max_s = _positive("wait_max_s", wait_max_s)
        self.on_retry = on_retry

    async def __call__(self, operation: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `operation(*args, **kwargs)` until it succeeds, fails for good, or time is up.

        Args:
            operation: asynchronous and idempotent; awaited anew for each try.
            *args: handed to it.
            **kwargs: handed to it.

        Returns:
            What the operation returns.

        Raises:
            DatabaseError: the last error, also one that the driver or SQLAlchemy raised; `attempts` holds all tries.
            OpenTransactionError: the running task has a transaction open.
            asyncio.CancelledError: at once, when the task is cancelled.
        """
        tries = _Tries(getattr(operation, "__qualname__", repr(operation)), self.deadline_s, self.on_retry)
        try:
            async with asyncio.timeout(self.deadline_s) as deadline:
                return await self._retrying(tries)(tries.run, operation, *args, **kwargs)
        except TimeoutError as exc:
            if not deadline.expired():
                raise
            raise tries.out_of_time() from exc
        except DatabaseError as exc:
            tries.log_the_last(exc)
            raise

    def decorate(self, operation: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Return a function that runs `operation` as calling this instance does."""

        @wraps(operation)
        async def retried(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self(operation, *args, **kwargs)

        return retried

    def _retrying(self, tries: _Tries) -> AsyncRetrying:
        most = stop_never if self.max_attempts is None else stop_after_attempt(self.max_attempts)
        return AsyncRetrying(
            stop=most | stop_before_delay(self.deadline_s),
            wait=wait_random_exponential(self.wait_initial_s, self.wait_max_s),
            retry=retry_if_exception(is_passing),
            before_sleep=tries.log,
            sleep=asyncio.sleep,
            reraise=True,
        )


def is_passing(error: BaseException) -> bool:
    """Return whether the same operation may succeed if it is tried again."""
    if not isinstance(error, DatabaseError):
        return False
    if any(isinstance(cause, asyncpg.InvalidCachedStatementError) for cause in _causes(error)):
        return True
    if error.sqlstate is None:
        return isinstance(error, DatabaseUnavailableError)
    return error.sqlstate.startswith(_PASSING)


def _causes(error: BaseException) -> Iterator[BaseException]:
    # Ours comes from SQLAlchemy's, whose `orig` comes from the driver's.
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = getattr(cause, "orig", None) or cause.__cause__


class _Tries:
    """The tries of one call: what is run, and what came of it."""

    def __init__(
        self, name: str, deadline_s: float, on_retry: Callable[[FailedAttempt], None] | None
    ) -> None:
        self._name = name
        self._deadline_s = deadline_s
        self._on_retry = on_retry
        self._failed: list[FailedAttempt] = []
        self._started_at = datetime.now(UTC)
        self._started = monotonic()

    async def run(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        if task_has_open_transaction():
            msg = (
                f"{self._name} was to be retried inside an open transaction, which its first failure would spoil; "
                "let it open its own, or retry the whole transaction"
            )
            raise OpenTransactionError(msg)
        self._started_at, self._started = datetime.now(UTC), monotonic()
        try:
            with database_errors_translated():
                return await operation(*args, **kwargs)
        except DatabaseError as exc:
            self._remember(exc)
            raise

    def log(self, state: RetryCallState) -> None:
        wait_s = 0.0 if state.next_action is None else state.next_action.sleep
        last = self._failed[-1]
        logger.warning(
            "%s: try %d failed after %.3f s (SQLSTATE %s): %s; again in %.3f s",
            *(self._name, len(self._failed), last.duration_s, last.sqlstate, last.reason, wait_s),
        )
        if self._on_retry is not None:
            self._on_retry(last)

    def log_the_last(self, error: DatabaseError) -> None:
        if self._failed and is_passing(error):
            last = self._failed[-1]
            logger.warning(
                "%s: try %d failed after %.3f s (SQLSTATE %s): %s; given up",
                *(self._name, len(self._failed), last.duration_s, last.sqlstate, last.reason),
            )

    def out_of_time(self) -> DatabaseUnavailableError:
        error = DatabaseUnavailableError(
            f"{self._name} was not done in {self._deadline_s:g} s and was cut off"
        )
        self._remember(error)
        self.log_the_last(error)
        return error

    def _remember(self, error: DatabaseError) -> None:
        duration_s = monotonic() - self._started
        self._failed.append(FailedAttempt(self._started_at, duration_s, error.sqlstate, str(error)))
        error.attempts = tuple(self._failed)


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise InvalidInputError(name, value, "give a positive number")
    return value
