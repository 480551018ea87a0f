"""Times as whole microseconds since 1970 in UTC, which is what the cache computes with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from datalayer.domain.moments import EPOCH, MICROSECOND, utc_moment

SECOND_US: Final = 1_000_000
BEFORE_ALL_US: Final = -(2**62)
AFTER_ALL_US: Final = 2**62


def microseconds(moment: datetime, field: str) -> int:
    """Return an aware datetime as microseconds.

    Raises:
        InvalidInputError: it is no datetime, or naive; names `field`.
    """
    # Each event passes here: the usual kind of time skips the conversion.
    utc = moment if type(moment) is datetime and moment.tzinfo is UTC else utc_moment(moment, field)
    return (utc - EPOCH) // MICROSECOND


def ceil_us(time_us: int, length_us: int) -> int:
    """Return the first multiple of a length at or after a time; what is unbounded stays so."""
    if time_us in (BEFORE_ALL_US, AFTER_ALL_US):
        return time_us
    return -(-time_us // length_us) * length_us
