"""An instrument as the rest of the library sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """A traded pair and the scales of its stored integers.

    Attributes:
        id: key in the database.
        symbol: canonical, as in `BTC/USDT`.
        price_scale: decimal digits of a price; one price step is `10**-price_scale` of the quote asset.
        size_scale: decimal digits of a size; one size step is `10**-size_scale` of the base asset.
    """

    id: int
    symbol: str
    price_scale: int
    size_scale: int
