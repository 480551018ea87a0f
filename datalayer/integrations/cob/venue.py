"""The venues of a consolidated book, and the symbol under which it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError

THOUSAND: Final = 1_000
_MARK: Final = "COB"
_LONGEST_BASE: Final = 20


@dataclass(frozen=True, slots=True)
class Venue:
    """A feed whose books are merged.

    Attributes:
        name: how it is called, for instance `binance`.
        symbol: of its books, in any known spelling. None: that of the consolidated book. Another one has to be said here,
            since it says that its prices and sizes may be added as they are: `BTC/USD` beside `BTC/USDT` counts a dollar as
            a tether.
        weight: each of its sizes counts this much, as `Decimal` or str: above 0, at most 1, with at most 3 decimals. What
            is left of a size is cut down to a whole size step.

    Raises:
        InvalidInputError: the name is empty, the symbol names no pair, or the weight is none.
    """

    name: str
    symbol: str | None = None
    weight: Decimal | str | int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("name", self.name, "a venue has a name, for instance binance")
        if self.symbol is not None:
            object.__setattr__(self, "symbol", canonical_symbol(self.symbol))
        if not 0 < self.weight_thousandths <= THOUSAND:
            raise InvalidInputError("weight", self.weight, "give a number above 0, at most 1")

    @property
    def weight_thousandths(self) -> int:
        """The weight as a whole number."""
        try:
            counted = Decimal(self.weight) * THOUSAND
        except (InvalidOperation, TypeError, ValueError):
            counted = Decimal("NaN")
        if isinstance(self.weight, float) or not counted.is_finite() or counted != int(counted):
            hint = "give a Decimal or str with at most 3 decimals, as in '0.5'"
            raise InvalidInputError("weight", self.weight, hint)
        return int(counted)


def consolidated_symbol(symbol: str) -> str:
    """Return the symbol under which the consolidated books of a pair are kept: `BTCCOB/USDT` for `BTC/USDT`.

    It is an instrument like any other, with scales, history, coverage and policies of its own.

    Raises:
        InvalidInputError: `symbol` names no pair, or one that is consolidated already, or its base is too long to be marked.
    """
    base, quote = canonical_symbol(symbol).split("/")
    if base.endswith(_MARK):
        raise InvalidInputError("symbol", symbol, "is a consolidated book already")
    if len(base + _MARK) > _LONGEST_BASE:
        raise InvalidInputError(
            "symbol", symbol, f"its base has more than {_LONGEST_BASE - len(_MARK)} letters"
        )
    return f"{base}{_MARK}/{quote}"
