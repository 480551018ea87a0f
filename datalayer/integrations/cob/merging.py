"""Levels of several books as one, in whole steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class StepLevels:
    """One side of one book.

    Attributes:
        prices: int64 `[n]`, price steps, best first.
        sizes: int64 `[n]`, size steps.
    """

    prices: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def weighted(self, thousandths: int, of: int) -> StepLevels:
        """Return it with sizes of which only a part counts, cut down to whole steps; levels of which nothing is left go."""
        if thousandths == of:
            return self
        sizes = self.sizes * thousandths // of
        return StepLevels(self.prices[sizes > 0], sizes[sizes > 0])


@dataclass(frozen=True, slots=True, eq=False)
class MergedSide:
    """One side of a consolidated book, in buckets of price, best first. Read-only arrays.

    Attributes:
        prices: int64 `[n]`, the price of each bucket in price steps.
        contributions: int64 `[n, venues]`, what each venue has in it, in size steps.
    """

    prices: NDArray[np.int64]
    contributions: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.prices.flags.writeable = self.contributions.flags.writeable = False

    def __len__(self) -> int:
        return len(self.prices)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """What is in each bucket, int64 `[n]`, in size steps."""
        sizes: NDArray[np.int64] = self.contributions.sum(axis=1)
        return sizes


def merged(sides: Sequence[StepLevels], bucket: int, *, is_bid: bool) -> MergedSide:
    """Merge one side of several books.

    No bucket pretends a better price than there is: bids are put at the largest multiple of `bucket` that is not above them,
    asks at the smallest that is not below them.

    Args:
        sides: one for each venue, which may be empty.
        bucket: in price steps.
        is_bid: whether high prices are best.
    """
    prices = np.concatenate([side.prices for side in sides])
    sizes = np.concatenate([side.sizes for side in sides])
    venues = np.repeat(np.arange(len(sides)), [len(side.prices) for side in sides])
    sign = -1 if is_bid else 1
    # Floor division of the negated price rounds up, and the sign makes the best bucket the first one.
    ranked, places = np.unique(-(-sign * prices // bucket) * bucket, return_inverse=True)
    contributions = np.zeros((len(ranked), len(sides)), np.int64)
    np.add.at(contributions, (places, venues), sizes)
    return MergedSide(sign * ranked, contributions)


def netted(bids: StepLevels, asks: StepLevels) -> tuple[StepLevels, StepLevels]:
    """Return both sides without what crosses: bids that are not below asks are matched, best first, until none is left.

    As much is taken from one side as from the other.
    """
    bid_sizes, ask_sizes = bids.sizes.copy(), asks.sizes.copy()
    bid = ask = 0
    while bid < len(bid_sizes) and ask < len(ask_sizes) and bids.prices[bid] >= asks.prices[ask]:
        matched = min(bid_sizes[bid], ask_sizes[ask])
        bid_sizes[bid] -= matched
        ask_sizes[ask] -= matched
        bid += bid_sizes[bid] == 0
        ask += ask_sizes[ask] == 0
    return StepLevels(bids.prices[bid:], bid_sizes[bid:]), StepLevels(asks.prices[ask:], ask_sizes[ask:])
