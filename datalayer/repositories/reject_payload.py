"""The one form in which a rejected record is kept, exact enough to be validated again.

`rejected_records.payload` is ASCII JSON, an object with

- `format`: 1;
- `timeframe`: of a candle, as in `1m`, where it was known; else null;
- `record`: every value as it was given, by column. Texts, booleans, null, lists, whole numbers and finite floats are
  those of JSON (a float is written so that it reads back bit by bit, and always with a point or an exponent). All else is
  an object of one entry that names its type: `{"decimal": "61837.640"}`, `{"float": "nan"}`, `{"integer": "0x…"}` beyond
  64 bits, `{"time": "2024-08-08T00:00:00.000001+00:00"}` (with up to nine decimals, without offset if it was naive),
  `{"time64": ["2024-08-08T00:00", "s"]}`, `{"bytes": "<base64>"}`, `{"missing": "NA"}`, `{"entries": [[key, value], …]}`.
  What is none of these is `{"unreadable": ["<type>", "<shortened text>"]}` and will be refused again;
- `received`: the record exactly as it was received, if that was handed in: a text, or `{"bytes": "<base64>"}`; else null.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.domain.steps import plain_scalar
from datalayer.domain.validation.result import shown
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from datalayer.domain.validation import RejectedRow

FORMAT: Final = 1
_DEEPEST: Final = 8
_INT64: Final = 2**63
_NANOSECONDS: Final = re.compile(r"\.\d{7}")


@dataclass(frozen=True, slots=True)
class RejectPayload:
    """A rejected record as it was kept.

    Attributes:
        record: values by column, as they were given; what could not be kept is an `Unreadable`.
        timeframe: of a candle, as in `1m`; None: not known.
        received: the record exactly as received; None: nobody said.
    """

    record: dict[str, Any]
    timeframe: str | None = None
    received: bytes | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a value that could not be kept; no rule accepts it.

    Attributes:
        type_name: what it was.
        text: what it looked like, shortened.
    """

    type_name: str
    text: str


def encode_payload(row: RejectedRow, timeframe: str | None) -> bytes:
    """Return what is kept of a rejected row; the same for the same row."""
    return encode_record(row.record, timeframe, row.payload)


def encode_record(record: Mapping[str, Any], timeframe: str | None, received: bytes | None = None) -> bytes:
    """Return what is kept of a record; the same for the same record.

    Args:
        record: its values by column.
        timeframe: of a candle, as in `1m`; None: not known.
        received: exactly as it was received; None: nobody said.
    """
    document = {
        "format": FORMAT,
        "timeframe": timeframe,
        "record": {str(name): _encoded(value, 0) for name, value in _without_padding(record).items()},
        "received": None if received is None else _encoded_bytes(received),
    }
    return json.dumps(document, allow_nan=False).encode("ascii")


def decode_payload(payload: bytes) -> RejectPayload:
    """Return the record again.

    Raises:
        InvalidInputError: the payload is of another format; it was written by something else.
    """
    try:
        document = json.loads(payload)
        if document["format"] != FORMAT:
            raise InvalidInputError("payload", document["format"], f"a format other than {FORMAT}")
        record = {name: _decoded(value) for name, value in document["record"].items()}
        received = document["received"]
        raw = received.encode() if isinstance(received, str) else _decoded(received)
        return RejectPayload(record, document["timeframe"], raw)
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        if isinstance(exc, InvalidInputError):
            raise
        raise InvalidInputError("payload", shown(payload[:80]), "no record of this library's") from exc


def _without_padding(record: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the NaN off the ends of the levels of a book that came in arrays: there they are padding and no levels."""
    kept = dict(record)
    for side in ("bid", "ask"):
        names = (f"{side}_prices", f"{side}_sizes")
        arrays: list[Any] = [kept.get(name) for name in names]
        if all(isinstance(a, np.ndarray) and a.ndim == 1 and a.dtype == np.float64 for a in arrays):
            filled = [np.flatnonzero(~np.isnan(array)) for array in arrays]
            length = max((int(places[-1]) + 1 for places in filled if len(places)), default=0)
            kept |= {name: array[:length] for name, array in zip(names, arrays, strict=True)}
    return kept


def _encoded(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return _unreadable(value)
    if isinstance(value, np.ndarray | list | tuple):
        return [_encoded(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {"entries": [[_encoded(k, depth + 1), _encoded(v, depth + 1)] for k, v in value.items()]}
    return _encoded_scalar(plain_scalar(value))


def _encoded_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for kind, encode in _ENCODERS.items():
        if isinstance(value, kind):
            return encode(value)
    return _unreadable(value)


def _encoded_integer(value: int) -> Any:
    return int(value) if -_INT64 <= value < _INT64 else {"integer": hex(value)}


def _encoded_float(value: float) -> Any:
    return float(value) if isfinite(value) else {"float": repr(float(value))}


def _encoded_bytes(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"bytes": base64.b64encode(value).decode()}


def _unreadable(value: Any) -> Any:
    return {"unreadable": [type(value).__name__, shown(value)]}


# NaT calls itself a datetime, so it comes first.
_ENCODERS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: _encoded_integer,
    float: _encoded_float,
    type(pd.NaT): lambda _: {"missing": "NaT"},
    type(pd.NA): lambda _: {"missing": "NA"},
    datetime: lambda value: {"time": value.isoformat()},
    Decimal: lambda value: {"decimal": str(value)},
    bytes: lambda value: {"bytes": base64.b64encode(value).decode()},
    np.datetime64: lambda value: {"time64": [str(value), np.datetime_data(value.dtype)[0]]},
}


def _time(text: str) -> datetime:
    # Only what is finer than a microsecond needs pandas' own type, which has fewer years.
    return pd.Timestamp(text) if _NANOSECONDS.search(text) else datetime.fromisoformat(text)


def _entries(pairs: list[list[Any]]) -> dict[Any, Any]:
    return {_key(_decoded(key)): _decoded(value) for key, value in pairs}


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "missing": {"NaT": pd.NaT, "NA": pd.NA}.__getitem__,
    "time": _time,
    "decimal": Decimal,
    "float": float,
    "integer": lambda text: int(text, 16),
    "bytes": base64.b64decode,
    "time64": lambda pair: np.datetime64(*pair),
    "entries": _entries,
    "unreadable": lambda pair: Unreadable(*pair),
}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return _DECODERS[kind](content)
    return value
