"""One piece of a file into the database: checked, compared with what is stored, and written so that it can be undone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from datalayer.db.staged_write import time_bounds
from datalayer.domain.validation import DataValidator
from datalayer.errors import ConflictError, DatabaseError
from datalayer.rollout.row_sets import any_differs, common, differing, packed, picked, row_count
from datalayer.rollout.source_times import UNREADABLE, micros_of

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.timeframe import Timeframe
    from datalayer.domain.validation.result import RejectedRows
    from datalayer.rollout.exact_rows import Series
    from datalayer.rollout.record_kinds import RecordKind
    from datalayer.rollout.row_sets import Rows

ConflictPolicy: TypeAlias = Literal["keep", "prefer_file", "fail"]
"""What happens to a row whose key is stored with other values: the stored one stays; it takes the file's values, and its own
are kept to be brought back; or the file is refused as a whole."""

_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class CheckedPiece:
    """A piece after validation.

    Attributes:
        rows: what may be stored, ascending by key, each key once.
        positions: where each of them was in the piece, int64.
        forming: candles that were not closed when the file was written.
        repeated: rows that repeat another, or are an earlier revision of it.
        rejected: rows that a rule refuses.
    """

    rows: Rows
    positions: NDArray[np.int64]
    forming: int
    repeated: int
    rejected: RejectedRows


@dataclass(frozen=True, slots=True)
class WrittenPiece:
    """What became of the rows that may be stored; the attributes are those of `migration_pieces`."""

    inserted: int
    overwritten: int
    unchanged: int
    kept: int
    forming: int
    inserted_rows: bytes | None
    replaced_rows: bytes | None
    replacing_rows: bytes | None
    kept_rows: bytes | None
    changed: tuple[datetime, datetime] | None


def check_piece(
    kind: RecordKind,
    raw: dict[str, Any],
    instrument: Instrument,
    timeframe: Timeframe | None,
    *,
    as_of: datetime,
    now: datetime,
) -> CheckedPiece:
    """Check a piece.

    Args:
        kind: of the records.
        raw: as `read_pieces` yields it.
        instrument: whose rows they are.
        timeframe: of candles.
        as_of: when the file was written: the candle that was forming then is left out.
        now: the clock, for times in the future.
    """
    times = micros_of(raw["ts"])
    closed = np.ones(len(times), dtype=bool)
    if timeframe is not None:
        moment = round(as_of.timestamp() * 1_000_000)
        is_forming = (
            (times <= moment) & (times + timeframe.value * 1_000_000 > moment) & (times != UNREADABLE)
        )
        closed = ~is_forming
        if is_forming.any():
            raw = {name: values[closed] for name, values in raw.items()}
    result = kind.validate(DataValidator(instrument), raw, timeframe, now)
    rows = kind.comparable(kind.columns(result.accepted, instrument, timeframe))
    positions = np.flatnonzero(closed)[result.accepted_rows]
    return CheckedPiece(rows, positions, int((~closed).sum()), len(result.dropped_rows), result.rejected)


async def write_piece(series: Series, rows: Rows, policy: ConflictPolicy, last_us: int) -> WrittenPiece:
    """Write rows inside the caller's transaction; beside other writers, and exactly known afterwards.

    What is stored is read first, and what is new written by COPY: if somebody was faster with one of the rows, that refuses
    all of them, a savepoint undoes it, and everything is compared anew.

    Args:
        series: where to.
        rows: ascending by key, each key once.
        policy: what happens to rows that are stored with other values.
        last_us: last time in the file, in microseconds since 1970: a candle of that time may have been half-built.

    Raises:
        ConflictError: `policy` is "fail", and a stored row says something else.
        DatabaseError: the server refuses, or another writer was faster each time.
    """
    if not row_count(rows):
        return WrittenPiece(0, 0, 0, 0, 0, None, None, None, None, None)
    first, last = time_bounds(series.kind.target.time, list(rows.values()))
    for _ in range(_ATTEMPTS):
        written = await _try_to_write(series, rows, await series.read(first, last), policy, last_us)
        if written is not None:
            return written
    msg = f"{series.kind.target.table}: rows from {first} to {last} are written by somebody else all the time"
    raise DatabaseError(msg)


async def _try_to_write(
    series: Series, rows: Rows, stored: Rows, policy: ConflictPolicy, last_us: int
) -> WrittenPiece | None:
    kind = series.kind
    ours, theirs = common(rows, stored, kind.key)
    mine, there = picked(rows, ours), picked(stored, theirs)
    other = any_differs(differing(kind, mine, there)) if len(ours) else np.zeros(0, bool)
    half_built = other & _continued(kind, mine, there, last_us)
    other &= ~half_built
    if policy == "fail" and other.any():
        raise _conflict(kind, picked(mine, other))
    new = np.ones(row_count(rows), dtype=bool)
    new[ours] = False
    fresh, contested, was = picked(rows, new), picked(mine, other), picked(there, other)
    replacing = (
        _completed(kind, contested, was) if policy == "prefer_file" else picked(contested, slice(0, 0))
    )
    is_stored, inserted_rows = await asyncio.gather(
        _store(series, fresh, was, replacing), asyncio.to_thread(packed, fresh)
    )
    if not is_stored:
        return None
    swaps, passed_over = (contested, picked(contested, slice(0, 0)))[:: 1 if policy == "prefer_file" else -1]
    return WrittenPiece(
        inserted=row_count(fresh),
        overwritten=row_count(swaps),
        unchanged=len(ours) - int(other.sum()) - int(half_built.sum()),
        kept=row_count(passed_over),
        forming=int(half_built.sum()),
        inserted_rows=inserted_rows,
        replaced_rows=packed(was) if row_count(replacing) else None,
        replacing_rows=packed(replacing),
        kept_rows=packed(passed_over),
        changed=_changed(kind, fresh, replacing),
    )


async def _store(series: Series, fresh: Rows, was: Rows, replacing: Rows) -> bool:
    """Write all or nothing; False: somebody else was faster."""
    savepoint = await series.conn.begin_nested()
    is_done = not row_count(fresh) or await series.insert(fresh)
    if is_done and (after := packed(replacing)) is not None:
        is_done = await series.replace(packed(was) or b"", after, {}) == row_count(replacing)
    await (savepoint.commit() if is_done else savepoint.rollback())
    return is_done


def _continued(kind: RecordKind, mine: Rows, there: Rows, last_us: int) -> NDArray[np.bool_]:
    """Tell which is the last candle of its file and only an earlier state of the stored one."""
    if kind.name != "candle":
        return np.zeros(row_count(mine), dtype=bool)
    value = {name: (mine[name].data, there[name].data) for name in kind.values}
    grown = (value["trade_count"][0] == -1) | (value["trade_count"][1] == -1)
    grown |= value["trade_count"][0] <= value["trade_count"][1]
    is_last = mine["ts"].data.astype("datetime64[us]").astype(np.int64) == last_us
    same_open = value["open"][0] == value["open"][1]
    wider = (value["high"][0] <= value["high"][1]) & (value["low"][0] >= value["low"][1])
    continued: NDArray[np.bool_] = (
        is_last & same_open & wider & (value["volume"][0] < value["volume"][1]) & grown
    )
    return continued


def _completed(kind: RecordKind, mine: Rows, there: Rows) -> Rows:
    """Return rows of the file with what they leave open as it is stored."""
    completed = dict(mine)
    for name in kind.target.kept_if_null:
        column = mine[name]
        data = np.where(column.data == -1, there[name].data, column.data)
        completed[name] = type(column)(name, column.pg_type, data)
    return completed


def _changed(kind: RecordKind, *written: Rows) -> tuple[datetime, datetime] | None:
    bounds = [time_bounds(kind.target.time, list(rows.values())) for rows in written if row_count(rows)]
    return (min(first for first, _ in bounds), max(last for _, last in bounds)) if bounds else None


def _conflict(kind: RecordKind, rows: Rows) -> ConflictError:
    key = {name: rows[name].data[0].item() for name in kind.key}
    hint = (
        f"stored with other values, as {row_count(rows) - 1} more rows of this piece are; look which is right"
    )
    return ConflictError(kind.target.table, key, hint)
