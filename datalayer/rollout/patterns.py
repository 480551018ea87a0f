"""What a path in the cache folder says: which instrument, which timeframe, which kind of records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.domain.validation.rules import Kind


@dataclass(frozen=True, slots=True)
class FilePattern:
    """One line of the pattern table.

    Attributes:
        name: for people.
        kind: `candle`, `trade` or `order_book`.
        regex: matches the whole path below the cache folder, with `/`; has a group `symbol`, and for candles a group
            `timeframe`.
    """

    name: str
    kind: Kind
    regex: str


@dataclass(frozen=True, slots=True)
class Named:
    """What a path says.

    Attributes:
        kind: of the records.
        symbol: canonical.
        timeframe: of candles; None: no candles.
        pattern: name of the line of the table that matched.
    """

    kind: Kind
    symbol: str
    timeframe: Timeframe | None
    pattern: str


_FOLDERS: Final = r"(?:.*/)?"
_VENUE: Final = r"(?:[a-z]+_)*"
_PAIR: Final = r"(?P<symbol>[A-Z0-9]+(?:-[A-Z0-9]+)?)"
_ANY_PAIR: Final = r"(?P<symbol>[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)?)"
_LENGTH: Final = r"(?P<timeframe>\d{1,5}(?:s|m|min|h|H|d|D))"
_REST: Final = r"(?:[_-][A-Za-z0-9_-]*)?\.(?i:parquet)"
_BOOKS: Final = r"(?:order_?books?|depth)"

DEFAULT_PATTERNS: Final = (
    FilePattern("venue_SYMBOL_1m…", "candle", f"{_FOLDERS}{_VENUE}{_PAIR}_{_LENGTH}{_REST}"),
    FilePattern("SYMBOL_1m…", "candle", f"{_FOLDERS}{_ANY_PAIR}_{_LENGTH}{_REST}"),
    FilePattern("SYMBOL/1m…", "candle", f"{_FOLDERS}{_ANY_PAIR}/{_LENGTH}{_REST}"),
    FilePattern("venue_SYMBOL_trades…", "trade", f"{_FOLDERS}{_VENUE}{_PAIR}_trades{_REST}"),
    FilePattern("SYMBOL_trades…", "trade", f"{_FOLDERS}{_ANY_PAIR}_trades{_REST}"),
    FilePattern("SYMBOL/trades…", "trade", f"{_FOLDERS}{_ANY_PAIR}/trades{_REST}"),
    FilePattern("trades/venue_SYMBOL…", "trade", f"{_FOLDERS}trades/{_VENUE}{_PAIR}{_REST}"),
    FilePattern("venue_SYMBOL_orderbook…", "order_book", f"{_FOLDERS}{_VENUE}{_PAIR}_{_BOOKS}{_REST}"),
    FilePattern("SYMBOL_orderbook…", "order_book", f"{_FOLDERS}{_ANY_PAIR}_{_BOOKS}{_REST}"),
    FilePattern("SYMBOL/orderbook…", "order_book", f"{_FOLDERS}{_ANY_PAIR}/{_BOOKS}{_REST}"),
    FilePattern("orderbook/venue_SYMBOL…", "order_book", f"{_FOLDERS}{_BOOKS}/{_VENUE}{_PAIR}{_REST}"),
)
"""The table that is used unless another is given; the first line that matches, and names a pair, counts."""


def named_by(path: str, patterns: Sequence[FilePattern] = DEFAULT_PATTERNS) -> Named:
    """Return what a path says.

    Args:
        path: below the cache folder, with `/`.
        patterns: the table; the first line that matches, and whose symbol and timeframe can be read, counts.

    Raises:
        InvalidInputError: no line matches, or none that does names a pair and a timeframe.
    """
    hint = "its name matches none of the patterns; rename it, or add a line to the table"
    for pattern in patterns:
        if (found := re.fullmatch(pattern.regex, path)) is None:
            continue
        try:
            return _named(pattern, found)
        except InvalidInputError as exc:
            hint = f"it looks like {pattern.name}, but {exc}"
    raise InvalidInputError("path", path, hint)


def _named(pattern: FilePattern, found: re.Match[str]) -> Named:
    timeframe = Timeframe.parse(found["timeframe"]) if pattern.kind == "candle" else None
    return Named(pattern.kind, canonical_symbol(found["symbol"]), timeframe, pattern.name)
