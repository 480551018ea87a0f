"""Symbols of traded pairs: one canonical form, `BASE/QUOTE`, and the spellings of exchanges."""

from __future__ import annotations

import re
from enum import StrEnum

from datalayer.errors import InvalidInputError

_PAIR = re.compile(r"([A-Z0-9]{1,20})[/_-]([A-Z0-9]{1,20})")
_JOINED = re.compile(r"[A-Z0-9]{2,40}")
_QUOTES = ("BNB", "BTC", "BUSD", "DAI", "ETH", "EUR", "FDUSD", "GBP", "TRY", "TUSD", "USD", "USDC", "USDT")


class SymbolSpelling(StrEnum):
    """How a pair is written; the value shows it."""

    CANONICAL = "BTC/USDT"
    JOINED = "BTCUSDT"
    DASHED = "BTC-USDT"
    UNDERSCORED = "BTC_USDT"
    LOWER = "btcusdt"


_SEPARATORS = {SymbolSpelling.CANONICAL: "/", SymbolSpelling.DASHED: "-", SymbolSpelling.UNDERSCORED: "_"}


def canonical_symbol(text: str) -> str:
    """Return `BASE/QUOTE` for `BTC/USDT`, `BTC-USDT`, `BTC_USDT`, `BTCUSDT` or `btcusdt`.

    Raises:
        InvalidInputError: the text names no pair, or its parts cannot be told apart without a separator, as in
            `USDTUSD`, which could be `USDT/USD` or `USD/TUSD`.
    """
    upper = text.strip().upper()
    if pair := _PAIR.fullmatch(upper):
        return f"{pair[1]}/{pair[2]}"
    splits = _splits(upper) if _JOINED.fullmatch(upper) else []
    if len(splits) > 1:
        splits = [(base, quote) for base, quote in splits if base in _QUOTES]
    if len(splits) == 1:
        return "/".join(splits[0])
    raise InvalidInputError("symbol", text, "write base and quote with a separator, as in BTC/USDT")


def spell_symbol(symbol: str, spelling: SymbolSpelling | str) -> str:
    """Return a pair as an exchange writes it: `spell_symbol("BTC/USDT", "BTC-USDT")` is `BTC-USDT`.

    Args:
        symbol: in any spelling that `canonical_symbol` reads.
        spelling: one of `SymbolSpelling`, or its value.

    Raises:
        InvalidInputError: `symbol` names no pair, or there is no such spelling.
    """
    canonical = canonical_symbol(symbol)
    try:
        wanted = SymbolSpelling(spelling)
    except ValueError:
        known = ", ".join(SymbolSpelling)
        raise InvalidInputError("spelling", spelling, f"use one of {known}") from None
    spelled = canonical.replace("/", _SEPARATORS.get(wanted, ""))
    return spelled.lower() if wanted is SymbolSpelling.LOWER else spelled


def _splits(joined: str) -> list[tuple[str, str]]:
    return [
        (joined.removesuffix(quote), quote) for quote in _QUOTES if joined.endswith(quote) and joined != quote
    ]
