"""How a feed works."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import Literal, TypeAlias

from datalayer.errors import InvalidInputError
from datalayer.integrations.book_sampling import DEFAULT_LEVELS, DEFAULT_SAMPLE_MS

SilentSeconds: TypeAlias = Literal["absent", "fill"]
"""Seconds without a trade have no candle, or one at the last price with a `trade_count` of 0."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """How a feed works.

    Attributes:
        book_sample_ms: an order book goes to the pipeline each time the exchange's clock enters a new interval of so many
            milliseconds: twice a second is what imbalances over 1 s can use, at a fifth of the rows of updates every 100 ms.
        book_levels: the best so many levels of each side.
        silent_seconds: see `SilentSeconds`; of 1s candles that are made from trades.
        second_grace_ms: a second is over when a trade of a later one follows without a hole, or when the exchange's clock is so
            many milliseconds past its end.
        silent_after_s: a connection that brings nothing for so many seconds is given up.
        ping_every_s: seconds between pings of ours; one that is not answered in as many seconds ends the connection.
        connect_timeout_s: seconds in which a connection must be made.
        queue_frames: frames that may wait in memory, a connection; beyond them the socket is not read.
        stable_after_s: a connection that lived so many seconds, or until it was given up for its silence, was no failure, and the
            next wait is short again.
        retry_wait_initial_s: longest wait before the second attempt to connect or to ask; it doubles each time.
        retry_wait_max_s: longest wait of all.
        connection_age: share of the exchange's limit at which a connection is replaced, before it is cut.
        handover_s: seconds that its successor may take to be complete; until then both are read.
        settle_s: seconds that a hole may close by itself, since messages came out of order, before it counts.
        backfill_max_s: holes that last longer, in seconds, are noted and not filled.
        backfill_attempts: answers without anything new after which the exchange counts as having nothing.
        backfill_retry_s: seconds after which a hole is tried again that could not be asked for.
        lookback_s: seconds before the last stored trade and candle that a start looks through for holes.
        rest_timeout_s: seconds in which a request must be answered.
        rest_attempts: attempts of a request that fails for a passing reason.
        log_every_s: seconds between two log lines about one kind of fault.

    Raises:
        InvalidInputError: a number is not above zero, or `connection_age` not below one.
    """

    book_sample_ms: int = DEFAULT_SAMPLE_MS
    book_levels: int = DEFAULT_LEVELS
    silent_seconds: SilentSeconds = "absent"
    second_grace_ms: int = 1_000
    silent_after_s: float = 30.0
    ping_every_s: float = 20.0
    connect_timeout_s: float = 10.0
    queue_frames: int = 1_024
    stable_after_s: float = 60.0
    retry_wait_initial_s: float = 0.5
    retry_wait_max_s: float = 60.0
    connection_age: float = 0.97
    handover_s: float = 30.0
    settle_s: float = 1.0
    backfill_max_s: float = 604_800.0
    backfill_attempts: int = 3
    backfill_retry_s: float = 60.0
    lookback_s: float = 3_600.0
    rest_timeout_s: float = 10.0
    rest_attempts: int = 5
    log_every_s: float = 10.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "silent_seconds"):
            if not (isfinite(value := getattr(self, name)) and value > 0):
                raise InvalidInputError(name, value, "give a number above zero")
        if self.connection_age >= 1:
            raise InvalidInputError("connection_age", self.connection_age, "give a share below 1")
        if self.silent_seconds not in ("absent", "fill"):
            raise InvalidInputError("silent_seconds", self.silent_seconds, "use absent or fill")
