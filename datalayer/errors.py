"""Every error that this library raises, in one tree.

An error carries its facts as attributes, so that callers decide by type and field and never by reading the text.
No error text contains a password: database addresses pass through `datalayer.config.redact` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_LONGEST_VALUE: Final = 1_000


class DataLayerError(Exception):
    """Base of all errors raised by `datalayer`."""


class InvalidInputError(DataLayerError, ValueError):
    """A value handed in by the caller cannot be used.

    Attributes:
        field: name of the argument, column or setting.
        value: the offending value as given.
        hint: what to do instead.
    """

    def __init__(self, field: str, value: Any, hint: str) -> None:
        self.field = field
        self.value = value
        self.hint = hint
        super().__init__(f"{field}={_shown(value)}: {hint}")


class MissingDataError(DataLayerError, LookupError):
    """Candles are missing where the caller wants none to be.

    Attributes:
        symbol: of the candles.
        timeframe: of the candles, as in `1m`.
        intervals: half-open ranges `[start, end)` of open times, UTC, that nobody has a candle for; ascending.
    """

    def __init__(self, symbol: str, timeframe: str, intervals: tuple[tuple[datetime, datetime], ...]) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self.intervals = intervals
        shown = ", ".join(f"[{start.isoformat()}, {end.isoformat()})" for start, end in intervals[:3])
        more = f" and {len(intervals) - 3} more" if len(intervals) > 3 else ""  # noqa: PLR2004 (as many as are shown)
        super().__init__(
            f"{symbol} {timeframe} has no candles in {shown}{more}; load them, or choose another fill policy"
        )


class NoDataError(DataLayerError, LookupError):
    """Nothing of what was asked for is stored or cached.

    Attributes:
        symbol: canonical.
        asked: what was asked for, in words.
        stored: what there is of the symbol, one line a series.
    """

    def __init__(self, symbol: str, asked: str, stored: tuple[str, ...]) -> None:
        self.symbol = symbol
        self.asked = asked
        self.stored = stored
        there = "; ".join(stored) if stored else "nothing at all"
        super().__init__(f"{symbol} has no {asked}; stored: {there}")


class LookAheadError(DataLayerError):
    """A backtest asked for what was not visible yet at its clock.

    Attributes:
        asked: what was asked for, in words.
        visible_at: from when on it is visible, UTC.
        now: where the clock is, UTC.
    """

    def __init__(self, asked: str, visible_at: datetime, now: datetime) -> None:
        self.asked = asked
        self.visible_at = visible_at
        self.now = now
        super().__init__(
            f"{asked} is not visible before {visible_at.isoformat()}, and the clock is at {now.isoformat()}"
        )


class StaleDataError(DataLayerError):
    """The newest data of a part are older than the caller accepts.

    Attributes:
        symbol: canonical.
        part: as in `QualityFlags.staleness_s`, for instance `candles.1m` or `order_book`.
        age_s: age in seconds; NaN: there are none.
        max_age_s: what the caller accepts.
        lag_s: seconds of the age by which a live answer lies back, to wait for what is on its way.
    """

    def __init__(self, symbol: str, part: str, age_s: float, max_age_s: float, lag_s: float = 0.0) -> None:
        self.symbol = symbol
        self.part = part
        self.age_s = age_s
        self.max_age_s = max_age_s
        self.lag_s = lag_s
        hint = "is its feed alive?"
        if age_s - lag_s <= max_age_s:
            hint = f"{lag_s:g} s of it is how far the answer lies back: allow for `settle_s`, or lower that"
        age = f"is {age_s:g} s old" if age_s == age_s else "is not there"  # noqa: PLR0124 (NaN)
        super().__init__(f"{symbol}: {part} {age}, and max_age_s={max_age_s:g}; {hint}")


class SlowConsumerError(DataLayerError):
    """A subscriber did not take its updates in time, and asked to be told.

    Attributes:
        symbol: canonical.
        stream: what it had subscribed to.
        max_lag: how many updates may wait.
    """

    def __init__(self, symbol: str, stream: str, max_lag: int) -> None:
        self.symbol = symbol
        self.stream = stream
        self.max_lag = max_lag
        super().__init__(
            f"{max_lag} updates of {symbol} {stream} wait, and nobody takes them; take them faster, raise max_lag, "
            "or subscribe with when_slow='drop_oldest'"
        )


class ProviderClosedError(DataLayerError, RuntimeError):
    """A provider was used before it was opened, or after it was closed."""


class ForkedProcessError(DataLayerError, RuntimeError):
    """A blocking provider was used in a process that was forked from the one that opened it."""


class ConfigurationError(DataLayerError, ValueError):
    """A setting is missing or contradicts another one."""


class ScaleError(InvalidInputError):
    """A price or size has more decimal digits, or is larger, than its instrument's scale can hold exactly."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One try of an operation that `RetryableDBOperation` repeats.

    Attributes:
        started_at: when the try began, in UTC.
        duration_s: how long it took to fail.
        sqlstate: what the server said; None when it never answered.
        reason: text of the error.
    """

    started_at: datetime
    duration_s: float
    sqlstate: str | None
    reason: str


class DatabaseError(DataLayerError):
    """The database refused or failed an operation.

    Attributes:
        sqlstate: the five-character SQLSTATE, or None when the server never answered.
        attempts: the tries that failed, oldest first, this error's own the last; empty outside of
            `RetryableDBOperation`.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        self.attempts: tuple[FailedAttempt, ...] = ()
        super().__init__(message)


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or closed the connection."""


class PoolTimeoutError(DatabaseUnavailableError):
    """All connections of the pool stayed in use for `pool_timeout_s`.

    Attributes:
        in_use: connections that were in use.
        waited_s: seconds that the caller waited.
    """

    def __init__(self, in_use: int, waited_s: float) -> None:
        self.in_use = in_use
        self.waited_s = waited_s
        super().__init__(
            f"no connection came free in {waited_s:g} s, {in_use} are in use; hold them shorter, "
            "or raise DATALAYER_POOL_MAX_SIZE"
        )


class DatabaseClosedError(DatabaseError):
    """The connection manager is closed, or being closed; nothing new is begun."""


class EventLoopError(DataLayerError, RuntimeError):
    """A connection manager was used from another event loop than the one that opened it."""


class OpenTransactionError(DataLayerError, RuntimeError):
    """Something that must run outside of transactions was asked for inside of one."""


class UnitOfWorkError(DataLayerError, RuntimeError):
    """A unit of work was used before it began, after its end, or a second time."""


class ConflictError(DatabaseError):
    """A row was to be new, and its key is stored with other values; its transaction should be given up.

    Attributes:
        table: where it is stored.
        key: the columns of its key.
    """

    def __init__(self, table: str, key: dict[str, Any], hint: str) -> None:
        self.table = table
        self.key = key
        named = ", ".join(f"{name}={value}" for name, value in key.items())
        super().__init__(f"{table}: {named}: {hint}", "23505")


class AlteredDataError(DataLayerError):
    """Stored bytes are not the ones that were written.

    Attributes:
        table: where they are stored.
        key: digest under which they were written.
    """

    def __init__(self, table: str, key: str, found: str) -> None:
        self.table = table
        self.key = key
        super().__init__(f"{table}: the content of {key} was altered: {found}; bring it back from a backup")


class UnsupportedServerError(DatabaseError):
    """The server has no TimescaleDB, one that is too old, or one without the community licence."""


class MigrationError(DatabaseError):
    """A schema migration did not run; the database is as it was before that revision."""


class IngestionClosedError(DataLayerError, RuntimeError):
    """An event was handed to a pipeline that is not open, or takes nothing more."""


class EventsLostError(DataLayerError):
    """A pipeline without an outbox was closed before the database had taken all of its events.

    Attributes:
        counts: how many were lost, by kind.
    """

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        super().__init__(
            f"events that were accepted are lost, since there is no outbox and the database did not take them: {counts}"
        )


class ExchangeError(DataLayerError):
    """An exchange refused a request or a subscription, or did not answer.

    Attributes:
        exchange: its name.
        asked: what was asked for.
        status: of the HTTP answer; None: there was none.
        reason: in the exchange's words, or what failed.
    """

    def __init__(self, exchange: str, asked: str, status: int | None, reason: str) -> None:
        self.exchange = exchange
        self.asked = asked
        self.status = status
        self.reason = reason
        answered = "did not answer" if status is None else f"answered {status}"
        super().__init__(f"{exchange} {answered} to {asked}: {reason}")


class OutboxError(DataLayerError):
    """The file of an outbox cannot be used.

    Attributes:
        path: of the file.
        reason: what is wrong with it; reads on after the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"outbox {path}: {reason}")


class OutboxInUseError(OutboxError):
    """Somebody has the outbox open already."""


class OutboxFullError(OutboxError):
    """The outbox has reached its bound, or its disk is full; the pipeline waits then, and nothing is lost."""


class OutboxCorruptError(OutboxError):
    """The outbox is damaged. It is left as it is: what can be saved is in it."""

    def __init__(self, path: Path, reason: str) -> None:
        hint = "nothing was changed; move it away, and save what is in it with `sqlite3 FILE .recover`"
        super().__init__(path, f"{reason}; {hint}")


class RolloutRefusedError(DataLayerError):
    """The next phase of the switch from Parquet cannot begin yet, or there is no way back from this one.

    Attributes:
        phase: the one that was to begin.
        missing: what stands against it, each in words.
    """

    def __init__(self, phase: str, missing: tuple[str, ...]) -> None:
        self.phase = phase
        self.missing = missing
        super().__init__(f"{phase} cannot begin: " + "; ".join(missing))


class EmbeddedError(DataLayerError):
    """The embedded TimescaleDB could not do what was asked."""


class EmbeddedStartError(EmbeddedError):
    """The embedded TimescaleDB could not be installed or started."""


class EmbeddedInUseError(EmbeddedError):
    """Another process holds the folder and does not let this one join."""


class EmbeddedCrashedError(EmbeddedError):
    """The WebAssembly process ended by itself; what was committed to a folder is safe."""


def _shown(value: Any) -> str:
    """Return a value for a message, whatever it is: the text of a huge integer is refused by Python itself."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (a broken __repr__ must not hide the error)
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
