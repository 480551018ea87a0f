"""A consolidated book at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from datalayer.domain.order_book import OrderBook
from datalayer.domain.steps import from_steps
from datalayer.integrations.cob.merging import StepLevels, netted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from datalayer.integrations.cob.merging import MergedSide


@dataclass(frozen=True, slots=True)
class Cross:
    """Two venues that cross each other: one's best bid is not below the other's best ask.

    Attributes:
        bid_venue: whose bid it is.
        ask_venue: whose ask it is.
        bid: in the quote asset, as it was, not put into a bucket.
        ask: likewise.
    """

    bid_venue: str
    ask_venue: str
    bid: float
    ask: float


@dataclass(frozen=True, slots=True, eq=False)
class ConsolidatedBook:
    """The books of several venues as one, at one moment. A cross is kept, and told.

    Attributes:
        symbol: under which it is kept, as in `BTCCOB/USDT`.
        ts: when, aware: the clock, or the latest time of a book that is in it if the clock is behind that.
        price_scale: decimal digits of a price step.
        size_scale: decimal digits of a size step.
        venues: names of the columns of contributions; those that are left out have zeros.
        ages_s: of the books that are in it, by venue, in seconds.
        stale: venues that are left out, with the age of their last book in seconds, below zero if it is from the future;
            None: there was none yet.
        bids: highest bucket first.
        asks: lowest bucket first.
        cross: the best prices, if they cross or meet; None: they do not. A cross smaller than a bucket is told here only.
    """

    symbol: str
    ts: datetime
    price_scale: int
    size_scale: int
    venues: tuple[str, ...]
    ages_s: Mapping[str, float]
    stale: Mapping[str, float | None]
    bids: MergedSide
    asks: MergedSide
    cross: Cross | None

    def frame(self, side: str) -> pd.DataFrame:
        """Return a side level by level: price, size, and the contribution of each venue in a column of its name.

        Args:
            side: `bids` or `asks`.
        """
        levels: MergedSide = {"bids": self.bids, "asks": self.asks}[side]
        parts = from_steps(levels.contributions, self.size_scale)
        columns = {
            "price": from_steps(levels.prices, self.price_scale),
            "size": from_steps(levels.sizes, self.size_scale),
        }
        return pd.DataFrame(columns | {name: parts[:, n] for n, name in enumerate(self.venues)})

    def order_book(self, levels: int = 20) -> OrderBook:
        """Return the best levels as an order book that can be stored: what crosses is netted, best first.

        Its `last_update_id` says which venues are in it: bit 0 is the first of `venues`, see `venues_of`.
        """
        bids, asks = netted(_levels(self.bids), _levels(self.asks))
        prices = [from_steps(side.prices[:levels], self.price_scale) for side in (bids, asks)]
        sizes = [from_steps(side.sizes[:levels], self.size_scale) for side in (bids, asks)]
        present = sum(1 << n for n, name in enumerate(self.venues) if name in self.ages_s)
        return OrderBook(self.symbol, self.ts, prices[0], sizes[0], prices[1], sizes[1], present)


def _levels(side: MergedSide) -> StepLevels:
    return StepLevels(side.prices, side.sizes)
