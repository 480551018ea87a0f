"""Lengths of time as TimescaleDB takes them: intervals of PostgreSQL, or whole numbers on integer time columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeAlias

from datalayer.errors import InvalidInputError

IntervalLike: TypeAlias = "timedelta | str | int | Interval"
"""`timedelta`, a PostgreSQL interval such as `"7 days"` or `"1 month"`, or an int for an integer time column."""

_UNITS: Final = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}
_SHORT: Final = {"min": "minute", "sec": "second", "hr": "hour", "mon": "month"}
_PART: Final = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-z]+)|(-?)(\d+):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?")
_MONTH_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """A length of time, comparable by value: `24 hours` is `1 day`, but `1 month` is not `30 days`.

    Attributes:
        months: calendar months.
        microseconds: all of the rest.
        integer: length in the unit of an integer time column; the others are 0 then.
    """

    months: int = 0
    microseconds: int = 0
    integer: int | None = None

    @classmethod
    def of(cls, value: IntervalLike, field: str = "interval") -> Self:
        """Return the interval that `value` writes down.

        Raises:
            InvalidInputError: a text that is no interval, or another type; names `field`.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, timedelta):
            return cls(microseconds=value // timedelta(microseconds=1))
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(integer=value)
        if isinstance(value, str):
            return cls._parse(value, field)
        raise InvalidInputError(field, value, "give a timedelta, a text such as '7 days', or an int")

    @classmethod
    def _parse(cls, text: str, field: str) -> Self:
        months, microseconds, end = 0, 0.0, 0
        lowered = text.strip().lower()
        for part in _PART.finditer(lowered):
            if lowered[end : part.start()].strip() or not lowered:
                break
            end = part.end()
            if part[2]:
                unit = part[2].removesuffix("s")
                unit = _SHORT.get(unit, unit)
                if unit in ("month", "year"):
                    months += round(float(part[1]) * (12 if unit == "year" else 1))
                elif unit == "week":
                    microseconds += float(part[1]) * 7 * _UNITS["day"]
                elif unit in _UNITS:
                    microseconds += float(part[1]) * _UNITS[unit]
                else:
                    break
            else:
                sign = -1 if part[3] else 1
                clock = int(part[4]) * 3600 + int(part[5]) * 60 + float(part[6] or 0)
                microseconds += sign * clock * 1_000_000
        else:
            if end == len(lowered) and end:
                return cls(months, round(microseconds))
        raise InvalidInputError(field, text, "write an interval such as '7 days', '90 minutes' or '1 month'")

    @property
    def size(self) -> int:
        """Its length for comparisons: microseconds, a month taken as 30 days, or the number of an integer column."""
        if self.integer is not None:
            return self.integer
        return _MONTH_DAYS * _UNITS["day"] * self.months + self.microseconds

    @property
    def fixed(self) -> Interval:
        """What TimescaleDB makes of it as the length of a chunk: a month is 30 days."""
        return self if self.integer is not None else Interval(microseconds=self.size)

    @property
    def sql(self) -> str:
        """The literal for SQL."""
        return str(self.integer) if self.integer is not None else f"INTERVAL '{self}'"

    @property
    def plain(self) -> str | int:
        """The value for a revision: a text, or the number of an integer column."""
        return str(self) if self.integer is None else self.integer

    def __str__(self) -> str:
        if self.integer is not None:
            return str(self.integer)
        parts = [_counted(self.months, "month")] if self.months else []
        if self.microseconds or not parts:
            parts.append(_largest_unit(self.microseconds))
        return " ".join(parts)


def _largest_unit(microseconds: int) -> str:
    for unit, size in _UNITS.items():
        if microseconds % size == 0 and microseconds:
            return _counted(microseconds // size, unit)
    return f"{microseconds / 1_000_000:.6f}".rstrip("0").rstrip(".") + " seconds"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
