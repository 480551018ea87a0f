"""Ranges of time in queries: half-open, and never beyond what was visible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from datalayer.db.literals import sql_literal
from datalayer.domain.moments import utc_moment
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLUTION: Final = timedelta(microseconds=1)
_STRETCHES: Final = (timedelta(minutes=10), timedelta(days=1))
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - RESOLUTION


def visible_range(
    start: datetime | None, end: datetime | None, as_of: datetime | None, *, length: timedelta = timedelta(0)
) -> tuple[datetime | None, datetime]:
    """Return the half-open range of times to read.

    Args:
        start: first time, included; None: no bound.
        end: last time, excluded; None: no bound but `as_of`.
        as_of: what is visible at this time; None: now, by the clock of this machine.
        length: what begins at `ts` becomes visible at `ts + length`.

    Returns:
        Start (or None) and end, in UTC.

    Raises:
        InvalidInputError: a time is naive, or `end` is before `start`.
    """
    first = None if start is None else utc_moment(start, "start")
    last = None if end is None else utc_moment(end, "end")
    if first is not None and last is not None and last < first:
        raise InvalidInputError("end", end, f"before start={start!r}")
    moment = utc_moment(datetime.now(UTC) if as_of is None else as_of, "as_of")
    visible = min(moment, _LATEST) - length + RESOLUTION
    return first, visible if last is None else min(last, visible)


def range_condition(start: datetime | None, end: datetime, column: str = "ts") -> str:
    """Return `column >= start AND column < end` as SQL; the literals let the planner leave chunks out."""
    before = f"{column} < {sql_literal(end)}"
    return before if start is None else f"{column} >= {sql_literal(start)} AND {before}"


def stretches(start: datetime | None, end: datetime, limit: int | None) -> Iterator[str]:
    """Yield conditions to look for the last `limit` rows in, one after the other until there are as many: short ones first.

    Without a bound a query is planned for every chunk there is, which takes longer than to read the rows. The last is the
    whole of `[start, end)`, and without a limit the only one.
    """
    for stretch in _STRETCHES if limit else ():
        near = end - min(stretch, end - _EARLIEST)
        if start is None or start < near:
            yield range_condition(near, end)
    yield range_condition(start, end)


def last_rows(limit: int | None, order: tuple[str, ...]) -> str:
    """Return the ORDER BY that reads ascending, or descending the last `limit` rows (the caller turns them around).

    Raises:
        InvalidInputError: `limit` is negative.
    """
    if limit is None:
        return "ORDER BY " + ", ".join(order)
    if limit < 0:
        raise InvalidInputError("limit", limit, "give a number of rows, 0 or more, or None for all")
    return "ORDER BY " + ", ".join(f"{name} DESC" for name in order) + f" LIMIT {sql_literal(limit)}"
