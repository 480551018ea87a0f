"""What validation hands back: the data that may be stored, what may not and why, and what is worth knowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import numpy as np

from datalayer.domain.moments import from_microseconds
from datalayer.domain.validation.raw_columns import RawColumns, raw_value
from datalayer.domain.validation.rules import MEANINGS, Kind, Notice, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.validation.findings import Findings

Accepted = TypeVar("Accepted")

_SHOWN_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that a rule refused, with all that quarantine keeps of it.

    Attributes:
        row: its position in what was handed in, from zero.
        kind: what it was taken for.
        symbol: as the record has it, else that of the validator's instrument.
        ts: its time in UTC; None if it could not be read.
        rule: the first rule that it breaks.
        field: the offending field, with the level of a book's side as in `bid_prices[3]`.
        value: the offending value as given.
        message: what is wrong, and what to do.
        record: every value of the row as given, by column.
        payload: the record exactly as received, if the caller said; else None.
    """

    row: int
    kind: Kind
    symbol: str
    ts: datetime | None
    rule: Rule
    field: str
    value: Any
    message: str
    record: dict[str, Any]
    payload: bytes | None

    @property
    def value_text(self) -> str:
        """The value as text that any database takes, cut at 200 characters."""
        return shown(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class RejectedRows(Sequence[RejectedRow]):
    """The refused rows of a batch in the order given; each is put together when it is asked for, as it was given.

    Attributes:
        rows: their positions in what was handed in, int64, ascending.
    """

    rows: NDArray[np.int64]
    _kind: Kind
    _symbol: str
    _findings: Findings
    _times: NDArray[np.int64]
    _raw: RawColumns
    _payloads: Sequence[bytes | str] | None

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> RejectedRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[RejectedRow]: ...
    def __getitem__(self, index: int | slice) -> RejectedRow | list[RejectedRow]:
        if isinstance(index, slice):
            return [self._build(position) for position in range(len(self))[index]]
        return self._build(range(len(self))[index])

    def __iter__(self) -> Iterator[RejectedRow]:
        return map(self._build, range(len(self)))

    def counts(self) -> Counter[Rule]:
        """Return how many rows each rule refused."""
        codes = np.bincount(self._findings.codes[self.rows], minlength=len(self._findings.broken) + 1)
        counts: Counter[Rule] = Counter()
        for (rule, _), count in zip(self._findings.broken, codes[1:].tolist(), strict=True):
            counts[rule] += count
        return +counts

    def _build(self, position: int) -> RejectedRow:
        row = int(self.rows[position])
        rule, field = self._findings.broken[self._findings.codes[row] - 1]
        record = {name: raw_value(column, position) for name, column in self._raw.items()}
        value, level = record.get(field), int(self._findings.levels[row])
        if level >= 0 and value is not None:
            field, value = f"{field}[{level}]", raw_value(value, level)
        symbol = record.get("symbol")
        return RejectedRow(
            row=row,
            kind=self._kind,
            symbol=symbol if isinstance(symbol, str) else self._symbol,
            ts=_moment(int(self._times[row])),
            rule=rule,
            field=field,
            value=value,
            message=f"{field} = {shown(value)} {MEANINGS[rule]}",
            record=record,
            payload=_bytes(self._payloads[position]) if self._payloads is not None else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ValidationWarning:
    """Something worth knowing about some rows, none of which is refused for it.

    Attributes:
        notice: what it is.
        field: the column it shows in.
        rows: positions in what was handed in, int64, ascending.
        details: one for each row: for a spike the price that stands out, float64; for zero-size levels their number, and
            else the row's position again, int64.
    """

    notice: Notice
    field: str
    rows: NDArray[np.int64]
    details: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class ValidationResult(Generic[Accepted]):
    """What became of each row: it is accepted, rejected, or dropped because its content is in an accepted row.

    Attributes:
        accepted: what may be stored, ascending by key, each key once.
        accepted_rows: where each accepted row was in what was handed in, int64.
        rejected: the refused rows.
        warnings: what is worth knowing; at most one for each notice and field.
        dropped_rows: positions of the rows that repeat an accepted row or are an earlier revision of it, int64.
    """

    accepted: Accepted
    accepted_rows: NDArray[np.int64]
    rejected: RejectedRows
    warnings: tuple[ValidationWarning, ...]
    dropped_rows: NDArray[np.int64]

    @property
    def is_clean(self) -> bool:
        """True if nothing was rejected; there may be warnings."""
        return not len(self.rejected)

    def warning_counts(self) -> Counter[Notice]:
        """Return how many rows each notice is about; for zero-size levels, how many levels."""
        counts: Counter[Notice] = Counter()
        for warning in self.warnings:
            levels = warning.notice is Notice.ZERO_SIZE_LEVELS
            counts[warning.notice] += int(warning.details.sum()) if levels else len(warning.rows)
        return counts


def shown(value: Any) -> str:
    """Return a value as short text without anything that a database refuses in a text, such as NUL."""
    if isinstance(value, np.ndarray):
        value = value[:_SHOWN_CHARS].tolist() if value.ndim else value.item()
    try:
        text = value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    except (ValueError, RecursionError):
        # An integer of more than 4,300 digits, or lists in lists without end.
        text = f"<{type(value).__name__} that cannot be shown>"
    short = text[:_SHOWN_CHARS]
    return short if short.isprintable() else short.encode("unicode_escape").decode()[:_SHOWN_CHARS]


def _moment(time_us: int) -> datetime | None:
    try:
        return from_microseconds(time_us)
    except OverflowError:
        return None


def _bytes(payload: bytes | str) -> bytes:
    return payload.encode(errors="surrogatepass") if isinstance(payload, str) else bytes(payload)
