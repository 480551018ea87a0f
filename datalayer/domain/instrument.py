"""An instrument as the rest of the library sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datalayer.domain.steps import PriceType, from_steps, to_steps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from datalayer.domain.scales import Scales


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

    def price_steps(self, prices: ArrayLike, *, field: str = "price") -> NDArray[np.int64]:
        """Return prices of the quote asset as exact counts of price steps; see `datalayer.domain.steps.to_steps`."""
        return to_steps(prices, self.price_scale, field=field)

    def size_steps(self, sizes: ArrayLike, *, field: str = "size") -> NDArray[np.int64]:
        """Return sizes of the base asset as exact counts of size steps; see `datalayer.domain.steps.to_steps`."""
        return to_steps(sizes, self.size_scale, field=field)

    def prices(self, steps: NDArray[np.int64], price_type: PriceType = "float") -> NDArray[Any]:
        """Return counts of price steps as prices; see `datalayer.domain.steps.from_steps`."""
        return from_steps(steps, self.price_scale, price_type)

    def sizes(self, steps: NDArray[np.int64], price_type: PriceType = "float") -> NDArray[Any]:
        """Return counts of size steps as sizes; see `datalayer.domain.steps.from_steps`."""
        return from_steps(steps, self.size_scale, price_type)


@dataclass(frozen=True, slots=True)
class ListedInstrument:
    """An instrument as the exchange lists it.

    Attributes:
        symbol: canonical, `BTC/USDT`.
        scales: decimals of the steps that are in force now. History may have more: a tick can have been finer, and
            sizes of trades are known with more decimals than the step of orders. Cover a scan of the data too.
        details: what to keep with the instrument, as `InstrumentRepository.ensure` takes it.
    """

    symbol: str
    scales: Scales
    details: dict[str, str]
