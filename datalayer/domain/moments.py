"""Moments in UTC: an aware time is converted, a naive one is refused and never guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from datalayer.errors import InvalidInputError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Return an aware datetime as whole microseconds since 1970 UTC."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(time_us: int) -> datetime:
    """Return whole microseconds since 1970 UTC as a datetime in UTC."""
    return EPOCH + time_us * MICROSECOND


def exact_moment(value: datetime, field: str) -> datetime:
    """Return the time of data in UTC; as `utc_moment`, but cutting it would move it before what it was known at.

    Raises:
        InvalidInputError: as `utc_moment`, or it is finer than a microsecond.
    """
    if getattr(value, "nanosecond", 0):
        raise InvalidInputError(field, value, "is finer than a microsecond, which is all that is kept")
    return utc_moment(value, field)


def utc_moment(value: datetime, field: str) -> datetime:
    """Return an aware datetime (or pandas Timestamp) in UTC; what is finer than a microsecond is cut off.

    Raises:
        InvalidInputError: it is no datetime, naive, or in UTC outside of the years 1 to 9999.
    """
    if not isinstance(value, datetime):
        raise InvalidInputError(
            field, value, "give an aware datetime, as in datetime(2024, 8, 8, tzinfo=UTC)"
        )
    if value.tzinfo is None:
        raise InvalidInputError(
            field, value, f"naive; say which time is meant, as in {value.isoformat()}+00:00"
        )
    plain = datetime.combine(value.date(), value.time(), tzinfo=value.tzinfo)
    try:
        return plain.replace(fold=value.fold).astimezone(UTC)
    except OverflowError as exc:
        raise InvalidInputError(field, value, "is outside of the years 1 to 9999 in UTC") from exc
