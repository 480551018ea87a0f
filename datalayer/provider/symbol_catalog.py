"""Which symbols and timeframes may be asked for."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, TypeVar

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

_MOST_SHOWN: Final = 20


class SymbolCatalog:
    """The symbols and timeframes of a provider.

    Args:
        symbols: in any known spelling; None: whatever is registered.
        timeframes: at least one.

    Attributes:
        is_fixed: whether the symbols were given, and what is registered besides does not matter.
        timeframes: ascending.

    Raises:
        InvalidInputError: one cannot be read or is there twice, or there is no timeframe.
    """

    def __init__(self, symbols: Iterable[str] | None, timeframes: Iterable[Timeframe | str]) -> None:
        given = (
            None if symbols is None else [canonical_symbol(symbol) for symbol in _listed(symbols, "symbols")]
        )
        _refuse_repeated("symbols", given or [])
        self.is_fixed = given is not None
        self._symbols: dict[str, None] = dict.fromkeys(sorted(given or []))
        lengths = [Timeframe.parse(timeframe) for timeframe in _listed(timeframes, "timeframes")]
        _refuse_repeated("timeframes", lengths)
        if not lengths:
            raise InvalidInputError("timeframes", lengths, "give at least one")
        self.timeframes = tuple(sorted(lengths))
        self._spellings: dict[str, str] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        """Canonical, ascending."""
        return tuple(self._symbols)

    def learn(self, registered: Iterable[str]) -> None:
        """Take what is registered now, if the symbols were not given."""
        if not self.is_fixed:
            self._symbols = dict.fromkeys(sorted(registered))

    def find(self, symbol: str) -> str | None:
        """Return the canonical symbol, or None if it is none of these.

        Raises:
            InvalidInputError: it names no pair.
        """
        canonical = self._spellings.get(symbol)
        if canonical is None:
            canonical = canonical_symbol(symbol)
            if canonical in self._symbols and len(self._spellings) < 10 * len(self._symbols):
                self._spellings[symbol] = canonical
        return canonical if canonical in self._symbols else None

    def get(self, symbol: str) -> str:
        """Return the canonical symbol.

        Raises:
            InvalidInputError: it is none of these; names those that look alike, and what there is.
        """
        found = self.find(symbol)
        if found is not None:
            return found
        known = self.symbols
        alike = get_close_matches(canonical_symbol(symbol), known)
        meant = f"did you mean {' or '.join(alike)}? " if alike else ""
        more = f" and {len(known) - _MOST_SHOWN} more" if len(known) > _MOST_SHOWN else ""
        there = (
            ", ".join(known[:_MOST_SHOWN]) + more if known else "none, until `InstrumentRepository.ensure`"
        )
        where = "the provider was made for" if self.is_fixed else "registered are"
        raise InvalidInputError("symbol", symbol, f"is not known; {meant}{where}: {there}")

    def chosen(self, timeframes: Iterable[Timeframe | str] | None) -> tuple[Timeframe, ...]:
        """Return timeframes in their order; None: all.

        Raises:
            InvalidInputError: one is none of these, or there twice, or there is none.
        """
        if timeframes is None:
            return self.timeframes
        lengths = [self.timeframe(timeframe) for timeframe in _listed(timeframes, "timeframes")]
        _refuse_repeated("timeframes", lengths)
        if not lengths:
            raise InvalidInputError("timeframes", lengths, f"give at least one of {self._labels()}")
        return tuple(lengths)

    def timeframe(self, timeframe: Timeframe | str) -> Timeframe:
        """Return a timeframe.

        Raises:
            InvalidInputError: it is none, or none of these; lists them.
        """
        length = Timeframe.parse(timeframe)
        if length not in self.timeframes:
            raise InvalidInputError(
                "timeframe", timeframe, f"the provider was not made for it; use one of {self._labels()}"
            )
        return length

    def _labels(self) -> str:
        return ", ".join(timeframe.label for timeframe in self.timeframes)


def _listed(values: Iterable[T], field: str) -> list[T]:
    if isinstance(values, str | Timeframe):
        raise InvalidInputError(field, values, "give a list, as in ['1m']")
    return list(values)


def _refuse_repeated(field: str, values: list[str] | list[Timeframe]) -> None:
    repeated = [value for place, value in enumerate(values) if value in values[:place]]
    if repeated:
        shown = [one.label if isinstance(one, Timeframe) else one for one in repeated]
        raise InvalidInputError(field, shown, "name each once")
