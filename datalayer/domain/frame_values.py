"""Values of the standard frames that came from outside, as JSON has them: taken exactly, or refused by name."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_INFINITIES: Final = {"inf": math.inf, "-inf": -math.inf}
_INT64: Final = range(-(2**63), 2**63)
_UTC_TIME: Final = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?\+00:00")


def plain_value(value: Any) -> Any:
    """Return a value of a column as JSON has it: None for NaN and NA, a text for an infinity."""
    if value is pd.NA or value != value:  # noqa: PLR0124 (NaN)
        return None
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def plain_number(value: float) -> Any:
    """Return a float as JSON has it: see `plain_value`."""
    return plain_value(float(value))


def member(data: Any, name: str, field: str) -> Any:
    """Return a member of a mapping that came from outside.

    Raises:
        InvalidInputError: it is no mapping, or has no such member.
    """
    if isinstance(data, dict) and name in data:
        return data[name]
    path = f"{field}.{name}"
    raise InvalidInputError(path, brief(data), "is missing")


def number(value: Any, field: str) -> float:
    """Return a number that JSON carried; None is NaN.

    An infinity is written as a text; one that is none was a number too large for a float.

    Raises:
        InvalidInputError: it is none, or a float does not hold it exactly.
    """
    if value is None:
        return math.nan
    if isinstance(value, str) and value in _INFINITIES:
        return _INFINITIES[value]
    if type(value) is float and not math.isinf(value):
        return value
    if type(value) is int and value in _INT64 and int(float(value)) == value:
        return float(value)
    raise InvalidInputError(field, value, "is no number that a float64 holds exactly")


def real_number(value: Any, field: str) -> float:
    """Return a number that a caller gave, of Python's or numpy's, as a float.

    Raises:
        InvalidInputError: it is none, or too large for a float.
    """
    if type(value) is float:
        return value
    # A duration of numpy's calls itself an integer.
    if not isinstance(value, bool | np.timedelta64) and isinstance(value, Real):
        with suppress(OverflowError):
            return float(value)
    raise InvalidInputError(field, value, "is no number that a float64 holds")


def whole_number(value: Any, field: str) -> int:
    """Return a count that JSON carried.

    Raises:
        InvalidInputError: it is no int of 0 to 2**63 - 1.
    """
    if type(value) is int and 0 <= value < 2**63:
        return value
    raise InvalidInputError(field, value, "is no count: give an int, 0 or more")


def text_of(value: Any, field: str) -> str:
    """Return a text that came from outside.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(value, str):
        raise InvalidInputError(field, value, "is no text")
    return value


def column_of(data: Any, rows: int, field: str) -> Any:
    """Return a column as an array of the dtype that it names.

    Raises:
        InvalidInputError: it has another length, or a value is none of its dtype; names the column, value and row.
    """
    dtype, values = member(data, "dtype", field), _listed(member(data, "values", field), rows, field)
    if dtype == "float64" and all(type(value) is float for value in values):
        floats = np.array(values, dtype=np.float64)
        if not np.isinf(floats).any():
            return floats
    read = _READERS.get(dtype) if isinstance(dtype, str) else None
    if read is None:
        path = f"{field}.dtype"
        raise InvalidInputError(path, dtype, f"use one of {', '.join(_READERS)}")
    return pd.array([read(value, f"{field}[{row}]") for row, value in enumerate(values)], dtype=dtype)


def time_texts(values: Any, rows: int, field: str) -> NDArray[np.datetime64]:
    """Return times that are written as ISO texts in UTC, to the second or microsecond, as datetime64[us].

    Raises:
        InvalidInputError: another number of them, or one is written otherwise; names the row.
    """
    for row, value in enumerate(_listed(values, rows, field)):
        if not isinstance(value, str) or not _UTC_TIME.fullmatch(value):
            path = f"{field}[{row}]"
            raise InvalidInputError(path, value, "is no time, as in 2024-08-08T10:00:00+00:00")
    try:
        # Not by pandas: before its third release it knows the years 1678 to 2261 only.
        return np.array([text.removesuffix("+00:00") for text in values], dtype="datetime64[us]")
    except ValueError as exc:
        raise InvalidInputError(field, brief(values), f"has a time that does not exist: {exc}") from exc


def brief(data: Any) -> str:
    """Return what may be said of data of any size in an error."""
    return type(data).__name__


def _listed(values: Any, rows: int, field: str) -> list[Any]:
    if isinstance(values, list) and len(values) == rows:
        return values
    found = len(values) if isinstance(values, list) else brief(values)
    raise InvalidInputError(field, found, f"give a list of {rows} values, one a row")


def _integer(value: Any, field: str) -> int:
    if type(value) is int and value in _INT64:
        return value
    raise InvalidInputError(field, value, "is no int of 64 bits")


def _integer_or_none(value: Any, field: str) -> int | None:
    return None if value is None else _integer(value, field)


def _boolean(value: Any, field: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidInputError(field, value, "is neither true nor false")


_READERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "float64": number,
    "int64": _integer,
    "Int64": _integer_or_none,
    "bool": _boolean,
}
