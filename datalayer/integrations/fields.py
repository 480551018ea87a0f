"""Checked reading of JSON fields as exchanges write them: decimals as texts, times as numbers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

Levels: TypeAlias = tuple[tuple[int, int], ...]
"""Price levels as (price, size), both in counts of 1e-8."""

E8_DIGITS: Final = 8
E8: Final = 10**E8_DIGITS

_DECIMAL: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,8})?")
INT64_MAX: Final = 2**63 - 1
# Milliseconds and microseconds cannot be confused: a number below is milliseconds until the year 5138, one above microseconds
# from the year 1973 on.
TIME_MS_LIMIT: Final = 10**14
_US_PER_MS: Final = 1_000
_SHOWN_CHARS: Final = 80


def fault(field: str, value: Any, hint: str) -> InvalidInputError:
    """Return the error for a field, with a value that is shortened: a malformed message may be of any length."""
    return InvalidInputError(field, _shown(value), hint)


def _shown(value: Any) -> Any:
    if isinstance(value, bool | float | type(None)) or (isinstance(value, int) and abs(value) <= INT64_MAX):
        return value
    try:
        return str(value)[:_SHOWN_CHARS]
    except RecursionError:
        # How deep lists may lie in lists differs between reading and showing them, and between Pythons.
        return f"<{type(value).__name__}>"


def parse_json(text: str | bytes, field: str) -> Any:
    """Return a JSON document.

    Raises:
        InvalidInputError: it is none; names `field`.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise fault(field, text, f"is not JSON ({type(exc).__name__})") from None


def read(message: Mapping[str, Any], key: str, field: str) -> Any:
    """Return `message[key]`; `field` is its readable name in the error.

    Raises:
        InvalidInputError: the key is absent.
    """
    try:
        return message[key]
    except KeyError:
        raise fault(field, None, f"the message has no {key!r}") from None


def read_integer(message: Mapping[str, Any], key: str, field: str) -> int:
    """Return a whole number from 0 to 2**63-1, such as an id.

    Raises:
        InvalidInputError: absent, or anything else (a boolean and `1.0` are not whole numbers here).
    """
    value = read(message, key, field)
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise fault(field, value, "must be a whole number from 0 to 2**63-1")
    return value


def read_time_us(message: Mapping[str, Any], key: str, field: str) -> int:
    """Return a time in microseconds since 1970-01-01 UTC, from a number of milliseconds or of microseconds.

    Raises:
        InvalidInputError: absent, no whole number, or of a size that neither has.
    """
    value = read_integer(message, key, field)
    if value < TIME_MS_LIMIT:
        return value * _US_PER_MS
    if value >= TIME_MS_LIMIT * _US_PER_MS:
        raise fault(field, value, "must be in milliseconds or microseconds since 1970")
    return value


def read_boolean(message: Mapping[str, Any], key: str, field: str) -> bool:
    """Return true or false.

    Raises:
        InvalidInputError: absent or anything else.
    """
    value = read(message, key, field)
    if type(value) is not bool:
        raise fault(field, value, "must be true or false")
    return value


def read_text(message: Mapping[str, Any], key: str, field: str) -> str:
    """Return a non-empty text of printable characters; NUL and half a surrogate pair could not be stored.

    Raises:
        InvalidInputError: absent, empty or no such text.
    """
    value = read(message, key, field)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise fault(field, value, "must be a printable text")
    return value


def to_e8(text: Any, field: str) -> int:
    """Return a decimal text such as `"61837.63000000"` as an exact count of 1e-8.

    Raises:
        InvalidInputError: no text (a JSON number has lost digits already), negative, or more than eight decimals.
    """
    if not isinstance(text, str) or _DECIMAL.fullmatch(text) is None:
        raise fault(field, text, 'must be a decimal text with up to 8 decimals, as in "61837.63000000"')
    whole, _, decimals = text.partition(".")
    return int(whole + decimals.ljust(E8_DIGITS, "0"))


def read_e8(message: Mapping[str, Any], key: str, field: str, *, positive: bool) -> int:
    """Return a price or size as an exact count of 1e-8.

    Raises:
        InvalidInputError: absent, not as `to_e8` wants it, or zero where `positive` is asked for.
    """
    value = to_e8(read(message, key, field), field)
    if positive and value == 0:
        raise fault(field, 0, "must be greater than zero")
    return value


def read_levels(message: Mapping[str, Any], key: str, field: str) -> Levels:
    """Return price levels `[["price", "size"], …]` as pairs of exact counts of 1e-8, in the order of the message.

    Raises:
        InvalidInputError: names the list and the position of the level that is not a pair of decimal texts.
    """
    rows = read(message, key, field)
    if not isinstance(rows, list):
        raise fault(field, rows, "must be a list of price levels")
    return tuple(_level(row, f"{field}[{position}]") for position, row in enumerate(rows))


def read_book(message: Mapping[str, Any]) -> tuple[Levels, Levels]:
    """Return `bids` and `asks`, as `read_levels` does; best level first.

    Raises:
        InvalidInputError: as for `read_levels`, or the best bid is not below the best ask.
    """
    bids, asks = read_levels(message, "bids", "bids"), read_levels(message, "asks", "asks")
    if bids and asks and bids[0][0] >= asks[0][0]:
        raise fault("bids[0].price", bids[0][0], f"must be below the best ask {asks[0][0]} (counts of 1e-8)")
    return bids, asks


def _level(row: Any, field: str) -> tuple[int, int]:
    # Older streams carry an empty third item; it has never had a meaning.
    if not isinstance(row, list) or len(row) not in (2, 3):
        raise fault(field, row, "must be a pair of price and size")
    price_field = f"{field}.price"
    price = to_e8(row[0], price_field)
    if price == 0:
        raise fault(price_field, 0, "must be greater than zero")
    return price, to_e8(row[1], f"{field}.size")
