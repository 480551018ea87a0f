"""Symbols of traded pairs: one canonical form, `BASE/QUOTE`, and the spellings of exchanges."""

from __future__ import annotations

import re

from datalayer.errors import InvalidInputError

_PAIR = re.compile(r"([A-Z0-9]{1,20})[/_-]([A-Z0-9]{1,20})")
_JOINED = re.compile(r"[A-Z0-9]{2,40}")
_QUOTES = ("BNB", "BTC", "BUSD", "DAI", "ETH", "EUR", "FDUSD", "GBP", "TRY", "TUSD", "USD", "USDC", "USDT")


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


def _splits(joined: str) -> list[tuple[str, str]]:
    return [
        (joined.removesuffix(quote), quote) for quote in _QUOTES if joined.endswith(quote) and joined != quote
    ]
