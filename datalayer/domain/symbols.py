"""Symbols of traded pairs: one canonical form, `BASE/QUOTE`, and the spellings of exchanges."""

from __future__ import annotations

import re
from enum import StrEnum

from datalayer.errors import InvalidInputError

_PAIR = re.compile(r"([A-Za-z0-9]{1,20})[/_-]([A-Za-z0-9]{1,20})")
# In mixed case the first letter is no part of the name, as in Bitfinex' `tBTCUSD`.
_JOINED = re.compile(r"[A-Z0-9]{2,40}|[a-z0-9]{2,40}")
_QUOTES = (
    *("BNB", "BTC", "BUSD", "DAI", "ETH", "EUR", "FDUSD", "GBP", "PYUSD", "RLUSD"),
    *("TRY", "TUSD", "USD", "USDC", "USDT"),
)
_KRAKEN = re.compile(r"[XZ][A-Z]{3}[XZ][A-Z]{3}|USDTZ[A-Z]{3}")
"""Kraken's old names, such as `XXBTZUSD` and `ZEURZUSD`: what looks like a base of five letters is none."""

_CONTRACT = re.compile(r"[0-9].*|PERP|PERPETUAL|SWAP")
_CONTRACT_KINDS = ("CMT", "FF", "FI", "PF", "PI")
"""Come before the pair, as in `PF_XBTUSD` of Kraken's futures."""

_DOLLARS = ("USD", "USDT", "USDC")
_NO_BASE = ("KRW", "THB")
_MONEY = ("EUR", "GBP", "TRY", "USD", "USDT")
_COINS = (
    *("ADA", "BCH", "BNB", "BTC", "DASH", "DOGE", "DOT", "ETC", "ETH", "LTC"),
    *("SOL", "TRX", "XLM", "XMR", "XRP", "ZEC"),
)
"""Coins that no money is priced in."""


class SymbolSpelling(StrEnum):
    """How a pair is written; the value shows it."""

    CANONICAL = "BTC/USDT"
    JOINED = "BTCUSDT"
    DASHED = "BTC-USDT"
    UNDERSCORED = "BTC_USDT"
    LOWER = "btcusdt"


_SEPARATORS = {SymbolSpelling.CANONICAL: "/", SymbolSpelling.DASHED: "-", SymbolSpelling.UNDERSCORED: "_"}


def canonical_symbol(text: object) -> str:
    """Return `BASE/QUOTE` for `BTC/USDT`, `BTC-USDT`, `BTC_USDT`, `BTCUSDT` or `btcusdt`.

    Assets keep the exchange's names: Kraken's `XBT/USD` stays that. An exchange that writes the quote first (Upbit's
    `BTC-ETH`) needs its parts turned before they come here; that is refused only where it is plain, as in `KRW-BTC` or `USDT-XRP`.

    Raises:
        InvalidInputError: the text names no pair; its parts cannot be told apart without a separator, as in `USDTUSD`,
            which could be `USDT/USD` or `USD/TUSD`; it is a future or a swap, as in `BTCUSD_PERP`; or the quote is first.
    """
    if not isinstance(text, str):
        raise InvalidInputError("symbol", text, "write base and quote with a separator, as in BTC/USDT")
    stripped = text.strip()
    if pair := _PAIR.fullmatch(stripped):
        return _checked_pair(text, pair[1].upper(), pair[2].upper())
    upper = stripped.upper()
    splits = _splits(upper) if _JOINED.fullmatch(stripped) and not _KRAKEN.fullmatch(upper) else []
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


def _checked_pair(text: object, base: str, quote: str) -> str:
    joined_base = base.endswith(_DOLLARS) and base not in _QUOTES
    joined_quote = quote.endswith(_DOLLARS) and base in _CONTRACT_KINDS
    if _CONTRACT.fullmatch(quote) or ((joined_base or joined_quote) and quote not in _QUOTES):
        raise InvalidInputError("symbol", text, "is a contract and no spot pair; write that, as in BTC/USDT")
    if base in _NO_BASE or (base in _MONEY and quote in _COINS):
        raise InvalidInputError("symbol", text, f"has its quote first; write {quote}/{base}")
    return f"{base}/{quote}"


def _splits(joined: str) -> list[tuple[str, str]]:
    return [
        (joined.removesuffix(quote), quote) for quote in _QUOTES if joined.endswith(quote) and joined != quote
    ]
