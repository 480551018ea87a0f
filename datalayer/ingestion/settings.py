"""How the pipeline works."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.validation import ValidationLimits
from datalayer.errors import InvalidInputError
from datalayer.ingestion.outbox import DEFAULT_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datalayer.domain.scales import Scales

WhenFull: TypeAlias = Literal["spill", "backpressure"]
"""What happens when the buffer of a kind is full: events stay on disk only and are read back in order, or callers wait."""

UnknownInstruments: TypeAlias = Literal["reject", "register"]
"""What happens to records of instruments that are not registered: they go to quarantine, or the instrument is registered."""

_NUMBERS: Final = (
    "outbox_max_bytes",
    "buffer_events",
    "flush_rows",
    "flush_after_s",
    "attempt_s",
    "retry_wait_max_s",
    "lookup_s",
)


@dataclass(frozen=True, slots=True)
class IngestionSettings:
    """How the pipeline works.

    Attributes:
        source: name of the feed, as quarantine keeps it.
        outbox_max_bytes: how large the outbox may become, but for a log of some megabytes; a full one keeps callers waiting. An hour of 25,000 candles a
            second takes about 6 GB.
        outbox_fsync: whether accepted events survive a loss of power too, and not only the death of the process.
        buffer_events: most events of a kind that wait in memory for the database.
        when_full: see `WhenFull`; without an outbox callers always wait.
        flush_rows: events of a kind from which on they are written at once; also most rows of a transaction.
        flush_after_s: age in seconds at which events are written at the latest.
        attempt_s: seconds that writing a batch may take, all retries of passing errors included, before it is tried anew
            (smaller, if the database was just too slow).
        retry_wait_max_s: longest pause in seconds between two attempts; there is no last one.
        close_timeout_s: seconds that `close()` waits for the database to take what is still to be stored.
        lookup_s: seconds in which the database must answer for an instrument that is met for the first time; else what
            is known without it counts.
        unknown_instruments: see `UnknownInstruments`.
        scales: by symbol, what instruments are registered with; others get scales of their first record, with headroom.
        limits: what is plausible.
        imbalances: whether imbalances are computed at each book.

    Raises:
        InvalidInputError: a number is not above zero, or a word is none of those that are possible.
    """

    source: str = "feed"
    outbox_max_bytes: int = DEFAULT_MAX_BYTES
    outbox_fsync: bool = False
    buffer_events: int = 100_000
    when_full: WhenFull = "spill"
    flush_rows: int = 10_000
    flush_after_s: float = 0.5
    attempt_s: float = 30.0
    retry_wait_max_s: float = 30.0
    close_timeout_s: float = 30.0
    lookup_s: float = 5.0
    unknown_instruments: UnknownInstruments = "reject"
    scales: Mapping[str, Scales] = field(default_factory=dict)
    limits: ValidationLimits = field(default_factory=ValidationLimits)
    imbalances: bool = True

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidInputError(name, getattr(self, name), "give a number above zero")
        if not 0 <= self.close_timeout_s < float("inf"):
            raise InvalidInputError("close_timeout_s", self.close_timeout_s, "give seconds, zero or more")
        for name, words in (
            ("when_full", ("spill", "backpressure")),
            ("unknown_instruments", ("reject", "register")),
        ):
            if getattr(self, name) not in words:
                raise InvalidInputError(name, getattr(self, name), f"use {' or '.join(words)}")
        canonical = {canonical_symbol(symbol): scales for symbol, scales in self.scales.items()}
        object.__setattr__(self, "scales", canonical)
