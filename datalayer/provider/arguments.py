"""Arguments of the provider's methods, checked."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from datalayer.domain.indicators import Indicator
from datalayer.domain.moments import utc_moment
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from datalayer.domain.indicators.spec import Recipe


def checked_count(field: str, count: Any, *, least: int = 1) -> int:
    """Return a number of things.

    Raises:
        InvalidInputError: it is no int, or less than `least`.
    """
    if type(count) is not int or count < least:
        raise InvalidInputError(field, count, f"give a whole number, {least} or more")
    return count


def checked_window(minutes: Any) -> timedelta:
    """Return the length of a context window.

    Raises:
        InvalidInputError: it is no number from 0 on.
    """
    if not isinstance(minutes, int | float) or not (isfinite(minutes) and minutes >= 0):
        raise InvalidInputError("context_window_minutes", minutes, "give minutes, 0 or more")
    return timedelta(minutes=minutes)


def checked_range(
    start: datetime | None, end: datetime | None, limit: int | None
) -> tuple[datetime | None, datetime | None, int | None]:
    """Return a range of times, in UTC, and how many of its last rows are wanted.

    Raises:
        InvalidInputError: a time is naive, `end` is before `start`, `limit` is no number of rows, or there is neither `start`
            nor `limit`: nobody wants years of seconds by accident.
    """
    first = None if start is None else utc_moment(start, "start")
    last = None if end is None else utc_moment(end, "end")
    if first is not None and last is not None and last < first:
        raise InvalidInputError("end", last.isoformat(), f"is before start={first.isoformat()}")
    count = None if limit is None else checked_count("limit", limit, least=0)
    if first is None and count is None:
        raise InvalidInputError("start", start, "give start, or limit for the last so many rows")
    return first, last, count


def recipes_of(indicators: Sequence[Indicator]) -> tuple[Recipe, ...]:
    """Return how indicators are computed.

    Raises:
        InvalidInputError: one is none, or two of them make the same column.
    """
    given: Sequence[Any] = indicators
    wrong = [one for one in given if not isinstance(one, Indicator)]
    if wrong:
        raise InvalidInputError("indicators", wrong[0], "give indicators, as in [Ema(20), Rsi(14)]")
    recipes = tuple(one.recipe for one in indicators)
    names = [name for recipe in recipes for name in recipe.columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidInputError("indicators", name, "two of them make this column; ask for it once")
    return recipes
