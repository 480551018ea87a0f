"""How old the parts of an answer are, and how old they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError, StaleDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CANDLES: Final = "candles."


def overdue_s(part: str, age_s: float) -> float:
    """Return for how long something new could have been there: of candles since the next one should have closed."""
    if part.startswith(_CANDLES):
        return age_s - Timeframe.parse(part.removeprefix(_CANDLES)).value
    return age_s


def stale_parts(ages_s: Mapping[str, float], stale_after_s: float) -> frozenset[str]:
    """Return the parts that are overdue for so long, or not there."""
    return frozenset(part for part, age in ages_s.items() if not overdue_s(part, age) < stale_after_s)


def refuse_stale(
    symbol: str,
    ages_s: Mapping[str, float],
    lag_s: float,
    max_age_s: float | Mapping[str, float] | None,
) -> None:
    """Refuse an answer that is older than its caller accepts.

    Args:
        symbol: canonical.
        ages_s: of its parts at its `as_of`.
        lag_s: seconds from there to the moment that was asked for.
        max_age_s: what is accepted, of all parts or by part; None: anything.

    Raises:
        StaleDataError: a part is too old, or not there.
        InvalidInputError: there is no such part, or an age is not above zero.
    """
    if max_age_s is None:
        return
    limits = dict.fromkeys(ages_s, max_age_s) if isinstance(max_age_s, int | float) else max_age_s
    for part, limit in limits.items():
        if part not in ages_s:
            raise InvalidInputError("max_age_s", part, f"is no part of the answer; use {', '.join(ages_s)}")
        if not limit > 0:
            raise InvalidInputError("max_age_s", limit, "give seconds, above zero")
        overdue = overdue_s(part, ages_s[part]) + lag_s
        if not overdue <= limit:
            raise StaleDataError(symbol, part, overdue, limit, lag_s)
