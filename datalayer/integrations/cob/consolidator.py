"""`Consolidator`: the last books of several venues, merged when asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.domain.moments import utc_moment
from datalayer.domain.order_book import OrderBook, check_book
from datalayer.domain.steps import check_scale, to_steps
from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError
from datalayer.integrations.cob.book import ConsolidatedBook, Cross
from datalayer.integrations.cob.merging import StepLevels, merged
from datalayer.integrations.cob.venue import THOUSAND, Venue, consolidated_symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from datalayer.cache import DataCacheManager

_MOST_VENUES: Final = 62
_TICK: Final = timedelta(microseconds=1)
_NONE: Final = StepLevels(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class _Held:
    """The last book of a venue.

    Attributes:
        ts: of the book.
        since: its time or when it came, whichever is earlier: a venue whose clock is ahead gets old all the same.
        bids: weighted.
        asks: likewise.
    """

    ts: datetime
    since: datetime
    bids: StepLevels
    asks: StepLevels


class Consolidator:
    """Holds the last book of each venue, and merges those that are fresh.

        books = Consolidator("BTC/USDT", ["binance", Venue("coinbase", "BTC/USD")], price_scale=2, size_scale=8, bucket="1")
        stop = books.follow(market.cache)
        found = books.find_book()

    A venue is stale when its last book is older than `stale_after_s`, counted from the book's own time or from when it came,
    whichever is earlier; or when that book is from so far in the future. It is left out then, and named; with its next book
    it is back.

    Args:
        symbol: of the pair, in any known spelling; the consolidated books have `consolidated_symbol` of it.
        venues: names, or `Venue` where something else is to be said.
        price_scale: decimal digits of prices, at least those of every venue.
        size_scale: decimal digits of sizes, likewise.
        bucket: width of a bucket of price in the quote asset, as `Decimal` or str: a whole number of price steps. None: one
            step, each price by itself.
        stale_after_s: seconds.
        clock: returns the time, aware.

    Raises:
        InvalidInputError: there is no venue, one twice or more than 62, a scale or number is out of range, or the bucket is no
            whole number of price steps.
    """

    def __init__(
        self,
        symbol: str,
        venues: Iterable[Venue | str],
        *,
        price_scale: int,
        size_scale: int,
        bucket: Decimal | str | int | None = None,
        stale_after_s: float = 5.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pair, self.symbol = canonical_symbol(symbol), consolidated_symbol(symbol)
        given = [Venue(venue) if isinstance(venue, str) else venue for venue in venues]
        self._venues = {venue.name: venue for venue in given}
        if len(self._venues) < len(given) or not 0 < len(given) <= _MOST_VENUES:
            raise InvalidInputError("venues", given, f"give 1 to {_MOST_VENUES} venues, each once")
        check_scale(price_scale, "price_scale")
        check_scale(size_scale, "size_scale")
        if not (isfinite(stale_after_s) and stale_after_s > 0):
            raise InvalidInputError("stale_after_s", stale_after_s, "give seconds above zero")
        self.price_scale, self.size_scale, self.stale_after_s = price_scale, size_scale, stale_after_s
        self._bucket = 1 if bucket is None else _bucket_steps(bucket, price_scale)
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._last: datetime | None = None

    @property
    def venues(self) -> tuple[str, ...]:
        """Names of the venues, in the order given."""
        return tuple(self._venues)

    def venues_of(self, update_id: int) -> tuple[str, ...]:
        """Return the venues that are in a stored snapshot, by its `last_update_id`."""
        return tuple(name for n, name in enumerate(self._venues) if update_id >> n & 1)

    def update(self, venue: str, book: OrderBook) -> bool:
        """Take the book of a venue in the place of its last one; False: it is older than that, and nothing was done.

        A last one that is from further ahead than `stale_after_s` gives way to any.

        Args:
            venue: its name.
            book: of the venue's symbol, best level first, not crossed; as deep as the venue gives it. Each venue counts as deep as
                it is: give all of them to a like depth in price.

        Raises:
            InvalidInputError: there is no such venue, the book is of another symbol, or it breaks the rules of a book.
            ScaleError: a price or size has more digits than the scales.
        """
        known = self._known(venue)
        expected = known.symbol or self._pair
        if canonical_symbol(book.symbol) != expected:
            hint = f"{venue} gives {expected}; one of another pair is merged only if Venue(symbol=…) says so"
            raise InvalidInputError("symbol", book.symbol, hint)
        ts, now = utc_moment(book.ts, "ts"), self.now()
        check_book(book)
        held = self._held.get(venue)
        # A book from far ahead is a slip of the venue's clock; nothing would ever follow it.
        if held is not None and ts < held.ts and self._age_s(held, now) >= 0:
            return False
        bids = self._steps(known, "bid", book.bid_prices, book.bid_sizes)
        asks = self._steps(known, "ask", book.ask_prices, book.ask_sizes)
        self._held[venue] = _Held(ts, min(ts, now), bids, asks)
        return True

    def follow(self, cache: DataCacheManager, *venues: str) -> Callable[[], None]:
        """Take each book that comes into a cache as that of the venue whose symbol it has; returns what ends that.

        Args:
            cache: of the pipeline that the feeds of these venues write through.
            venues: their names. None: all.

        Raises:
            InvalidInputError: there is no such venue, or two have one symbol, which a cache cannot tell apart: give each its
                own, or call `update`.
        """
        chosen = [self._known(name) for name in venues or self.venues]
        by_symbol = {venue.symbol or self._pair: venue.name for venue in chosen}
        if len(by_symbol) < len(chosen):
            names = [venue.name for venue in chosen]
            raise InvalidInputError(
                "venues", names, "two have one symbol; give each its cache, or call `update` for each"
            )

        def listen(symbol: str, item: object) -> None:
            if isinstance(item, OrderBook) and symbol in by_symbol:
                self.update(by_symbol[symbol], item)

        return cache.add_listener(listen)

    def find_book(self) -> ConsolidatedBook | None:
        """Return the consolidated book of now; None: all venues are stale.

        Its time is that of the clock, or the latest of a book that is in it, if a venue's clock is ahead: what is stored is
        never visible before what it is made of. It is always later than that of the one returned before.
        """
        now = self.now()
        ages = {name: self._age_s(held, now) for name, held in self._held.items()}
        fresh = {name: self._held[name] for name, age in ages.items() if abs(age) <= self.stale_after_s}
        if not fresh:
            return None
        moments = [now, *(held.ts for held in fresh.values())]
        self._last = max(moments if self._last is None else [*moments, self._last + _TICK])
        sides = {
            side: [getattr(fresh[name], side) if name in fresh else _NONE for name in self._venues]
            for side in ("bids", "asks")
        }
        return ConsolidatedBook(
            self.symbol,
            self._last,
            self.price_scale,
            self.size_scale,
            self.venues,
            {name: max(ages[name], 0.0) for name in self._venues if name in fresh},
            {name: ages.get(name) for name in self._venues if name not in fresh},
            merged(sides["bids"], self._bucket, is_bid=True),
            merged(sides["asks"], self._bucket, is_bid=False),
            self._cross(fresh),
        )

    def _age_s(self, held: _Held, now: datetime) -> float:
        """Return an age in seconds; below zero, that of a book which is further ahead than one may be old."""
        ahead_s = (held.ts - now).total_seconds()
        return -ahead_s if ahead_s > self.stale_after_s else (now - held.since).total_seconds()

    def _known(self, name: str) -> Venue:
        if name not in self._venues:
            raise InvalidInputError("venue", name, f"use one of {', '.join(self._venues)}")
        return self._venues[name]

    def _cross(self, fresh: dict[str, _Held]) -> Cross | None:
        bids = {name: int(held.bids.prices[0]) for name, held in fresh.items() if len(held.bids.prices)}
        asks = {name: int(held.asks.prices[0]) for name, held in fresh.items() if len(held.asks.prices)}
        if not bids or not asks or max(bids.values()) < min(asks.values()):
            return None
        bid, ask = max(bids, key=lambda name: bids[name]), min(asks, key=lambda name: asks[name])
        return Cross(bid, ask, bids[bid] / 10**self.price_scale, asks[ask] / 10**self.price_scale)

    def _steps(
        self, venue: Venue, side: str, prices: NDArray[np.float64], sizes: NDArray[np.float64]
    ) -> StepLevels:
        levels = StepLevels(
            to_steps(prices, self.price_scale, field=f"{side}_prices"),
            to_steps(sizes, self.size_scale, field=f"{side}_sizes"),
        )
        return levels.weighted(venue.weight_thousandths, THOUSAND)

    def now(self) -> datetime:
        """Return the time of its clock, in UTC."""
        return utc_moment(self._clock(), "clock")


def _bucket_steps(bucket: Decimal | str | int, price_scale: int) -> int:
    hint = f"give a whole number of price steps of {Decimal(1).scaleb(-price_scale)}, as Decimal or str"
    if isinstance(bucket, float):
        raise InvalidInputError("bucket", bucket, hint)
    try:
        steps = Decimal(bucket).scaleb(price_scale)
    except InvalidOperation:
        raise InvalidInputError("bucket", bucket, hint) from None
    if not steps.is_finite() or steps < 1 or steps != int(steps):
        raise InvalidInputError("bucket", bucket, hint)
    return int(steps)
