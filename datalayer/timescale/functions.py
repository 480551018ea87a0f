"""TimescaleDB's functions for SQLAlchemy, typed: what they return is of the type of the column they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Interval as IntervalType
from sqlalchemy import func, literal_column

from datalayer.timescale.intervals import Interval

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute
    from sqlalchemy.sql.functions import Function

    from datalayer.timescale.intervals import IntervalLike

T = TypeVar("T")

BUCKET: Final = "time_bucket"


def time_bucket(
    width: IntervalLike,
    column: ColumnElement[T] | InstrumentedAttribute[T],
    *,
    timezone: str | None = None,
    origin: ColumnElement[T] | None = None,
) -> Function[T]:
    """Return the start of the bucket that a time lies in; buckets are half-open, `[start, start + width)`.

    Args:
        width: length of a bucket.
        column: time column.
        timezone: buckets follow the days of this timezone; None: of UTC.
        origin: a moment at which a bucket starts; None: Monday 2000-01-03, for months 2000-01-01.
    """
    literal = literal_column(Interval.of(width, "width").sql, IntervalType())
    options: dict[str, Any] = {"timezone": timezone, "origin": origin}
    named = [
        literal_column(f"{name} => ").op("")(value) for name, value in options.items() if value is not None
    ]
    return func.time_bucket(literal, column, *named, type_=column.type)


def first(
    value: ColumnElement[T] | InstrumentedAttribute[T],
    by: ColumnElement[Any] | InstrumentedAttribute[Any],
) -> Function[T]:
    """Return the `value` of the row with the smallest `by` of each group; `.filter(...)` narrows the rows."""
    return func.first(value, by, type_=value.type)


def last(
    value: ColumnElement[T] | InstrumentedAttribute[T],
    by: ColumnElement[Any] | InstrumentedAttribute[Any],
) -> Function[T]:
    """Return the `value` of the row with the largest `by` of each group; `.filter(...)` narrows the rows."""
    return func.last(value, by, type_=value.type)
