"""Consolidated books: merged exactly, by an oracle that knows nothing but fractions; who is in them, and what crosses."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalayer import DataCacheManager, OrderBook
from datalayer.domain.order_book import check_book
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.integrations.cob import Consolidator, Cross, Venue, consolidated_symbol
from tests.fake_clock import Clock
from tests.market_books import capture_books

if TYPE_CHECKING:
    import pandas as pd

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
VENUES = ("one", "two", "three")
Side = list[tuple[int, int]]
"""Levels in price steps of 0.01 and size steps of 0.001, best first."""


def book(bids: Side, asks: Side, *, after_s: float = 0.0, symbol: str = BTC) -> OrderBook:
    sides = [np.array(side, np.float64).reshape(-1, 2) / [100, 1000] for side in (bids, asks)]
    ts = START + after_s * SECOND
    return OrderBook(symbol, ts, sides[0][:, 0], sides[0][:, 1], sides[1][:, 0], sides[1][:, 1])


def consolidator(clock: Clock, venues: Any = VENUES, **options: Any) -> Consolidator:
    chosen: dict[str, Any] = {"price_scale": 2, "size_scale": 3, "clock": clock} | options
    return Consolidator(BTC, venues, **chosen)


def levels_of(prices: Any, sizes: Any) -> list[tuple[Fraction, Fraction]]:
    return [
        (Fraction(repr(price)), Fraction(repr(size)))
        for price, size in zip(prices.tolist(), sizes.tolist(), strict=True)
    ]


def oracle(
    books: dict[str, OrderBook], bucket: Fraction, weights: dict[str, Fraction], size_scale: int = 3
) -> dict[str, dict[Fraction, dict[str, Fraction]]]:
    """Level by level, in fractions: what each venue has in each bucket."""
    found: dict[str, dict[Fraction, dict[str, Fraction]]] = {}
    for side, direction in (("bids", -1), ("asks", 1)):
        buckets: dict[Fraction, dict[str, Fraction]] = defaultdict(dict)
        for name, held in books.items():
            prices, sizes = (getattr(held, f"{side[:-1]}_{kind}") for kind in ("prices", "sizes"))
            for price, size in levels_of(prices, sizes):
                whole, rest = divmod(price, bucket)
                place = bucket * (whole + (1 if rest and direction > 0 else 0))
                counted = Fraction(int(size * weights[name] * 10**size_scale), 10**size_scale)
                if counted:
                    buckets[place][name] = buckets[place].get(name, Fraction(0)) + counted
        found[side] = dict(sorted(buckets.items(), key=lambda item: item[0] * direction))
    return found


def exact(frame: pd.DataFrame, names: tuple[str, ...]) -> dict[Fraction, dict[str, Fraction]]:
    rows = frame.to_dict("records")
    return {
        Fraction(repr(row["price"])): {name: Fraction(repr(row[name])) for name in names if row[name]}
        for row in rows
    }


def crosses_out(
    sides: dict[str, dict[Fraction, dict[str, Fraction]]],
) -> tuple[list[tuple[Fraction, Fraction]], list[tuple[Fraction, Fraction]]]:
    """Match one size step after the other, as a market would."""
    bids, asks = ([[price, sum(parts.values())] for price, parts in sides[side].items()] for side in sides)
    while bids and asks and bids[0][0] >= asks[0][0]:
        for side in (bids, asks):
            side[0][1] -= Fraction(1, 1000)
        bids, asks = ([level for level in side if level[1]] for side in (bids, asks))
    return [(p, s) for p, s in bids], [(p, s) for p, s in asks]


def side_of(prices: list[int], sizes: list[int], *, is_bid: bool) -> Side:
    ordered = sorted(set(prices), reverse=is_bid)
    return list(zip(ordered, sizes, strict=False))


sides = st.tuples(
    st.lists(st.integers(900, 1_000), max_size=6), st.lists(st.integers(1, 40), min_size=6, max_size=6)
)
drawn_books = st.tuples(sides, sides, st.integers(0, 80)).map(
    # Each book by itself is not crossed, but shifted against the others they are.
    lambda drawn: book(
        [(price + drawn[2], size) for price, size in side_of(*drawn[0], is_bid=True)],
        [(price + drawn[2] + 101, size) for price, size in side_of(*drawn[1], is_bid=False)],
    )
)


@settings(max_examples=200)
@given(
    st.lists(drawn_books, min_size=1, max_size=3),
    st.sampled_from(["0.01", "0.03", "0.1", "1", "2.5"]),
    st.lists(st.sampled_from(["1", "0.5", "0.333", "0.001"]), min_size=3, max_size=3),
)
def test_every_bucket_is_what_fractions_say(books: list[OrderBook], bucket: str, weights: list[str]) -> None:
    venues = [Venue(name, weight=Decimal(weight)) for name, weight in zip(VENUES, weights, strict=True)]
    consolidated = consolidator(Clock(START), venues, bucket=Decimal(bucket))
    held = dict(zip(VENUES, books, strict=False))
    for name, one in held.items():
        assert consolidated.update(name, one)
    expected = oracle(held, Fraction(bucket), {v.name: Fraction(str(v.weight)) for v in venues})
    found = consolidated.find_book()
    assert found is not None
    for side in ("bids", "asks"):
        frame = found.frame(side)
        assert exact(frame, VENUES) == expected[side]
        assert list(exact(frame, VENUES)) == list(expected[side])  # the best one first
        totals = [float(sum(parts.values())) for parts in expected[side].values()]
        assert frame["size"].tolist() == totals
    stored = found.order_book(1_000)
    check_book(stored)
    bids, asks = crosses_out(expected)
    assert levels_of(stored.bid_prices, stored.bid_sizes) == bids
    assert levels_of(stored.ask_prices, stored.ask_sizes) == asks
    bests = [
        [h.bid_prices[0] for h in held.values() if len(h.bid_prices)],
        [h.ask_prices[0] for h in held.values() if len(h.ask_prices)],
    ]
    if set(weights) == {"1"}:  # a level of which a weight leaves nothing crosses nothing
        assert (found.cross is not None) == (all(bests) and max(bests[0]) >= min(bests[1]))


def test_no_bucket_pretends_a_better_price() -> None:
    books = consolidator(Clock(START), ["one"], bucket="1")
    books.update("one", book([(10_099, 5), (10_000, 7), (9_999, 1)], [(10_101, 5), (10_200, 7), (10_201, 1)]))
    found = books.find_book()
    assert found is not None
    assert found.frame("bids")["price"].tolist() == [100.0, 99.0]
    assert found.frame("bids")["size"].tolist() == [0.012, 0.001]
    assert found.frame("asks")["price"].tolist() == [102.0, 103.0]
    assert found.frame("asks")["size"].tolist() == [0.012, 0.001]


def test_venues_that_cross_are_told_and_netted_where_they_are_stored() -> None:
    books = consolidator(Clock(START), ["one", "two"])
    books.update("one", book([(10_000, 5), (9_990, 5)], [(10_010, 4)]))
    books.update("two", book([(10_020, 3), (10_015, 3)], [(10_030, 9)]))
    found = books.find_book()
    assert found is not None
    assert found.cross == Cross("two", "one", 100.2, 100.1)
    assert found.frame("bids")[["price", "one", "two"]].to_numpy().tolist() == [
        [100.2, 0, 0.003],
        [100.15, 0, 0.003],
        [100.0, 0.005, 0],
        [99.9, 0.005, 0],
    ]
    stored = found.order_book(2)
    assert (stored.symbol, stored.ts) == ("BTCCOB/USDT", START)
    assert (stored.bid_prices.tolist(), stored.bid_sizes.tolist()) == ([100.15, 100.0], [0.002, 0.005])
    assert (stored.ask_prices.tolist(), stored.ask_sizes.tolist()) == ([100.3], [0.009])

    hidden = consolidator(Clock(START), ["one", "two"], bucket="1")
    hidden.update("one", book([(10_030, 5)], [(10_040, 4)]))
    hidden.update("two", book([(10_000, 5)], [(10_020, 4)]))
    within = hidden.find_book()
    assert within is not None
    assert within.cross == Cross("one", "two", 100.3, 100.2)
    assert within.order_book().bid_sizes.tolist() == [0.01]  # no bucket crosses: 100 and 101


def test_a_venue_that_gets_stale_is_left_out_and_named_and_comes_back() -> None:
    clock = Clock(START)
    books = consolidator(clock, stale_after_s=2)
    assert books.find_book() is None
    books.update("one", book([(100, 1)], [(200, 1)]))
    books.update("two", book([(101, 2)], [(201, 2)], after_s=3_600))  # its clock is an hour ahead
    wrong = books.find_book()
    assert wrong is not None
    assert wrong.stale == {"two": -3_600.0, "three": None}
    assert wrong.ts == START
    assert books.update("two", book([(102, 2)], [(202, 2)]))  # the clock was set right
    right = books.find_book()
    assert right is not None
    assert (right.stale, right.bids.prices[0]) == ({"three": None}, 102)

    books = consolidator(clock, stale_after_s=2)
    books.update("one", book([(100, 1)], [(200, 1)]))
    books.update("two", book([(101, 2)], [(201, 2)], after_s=3.27))  # its clock is ahead, but not much
    clock.now = START + 2 * SECOND
    both = books.find_book()
    assert both is not None
    assert (both.ages_s, both.stale) == ({"one": 2.0, "two": 2.0}, {"three": None})
    assert both.ts == START + 3.27 * SECOND  # not before what it is made of was known
    assert books.venues_of(both.order_book().last_update_id or 0) == ("one", "two")
    clock.now += timedelta(microseconds=1)
    assert books.find_book() is None
    books.update("one", book([(102, 1)], [(200, 1)], after_s=1.5))
    one = books.find_book()
    assert one is not None
    assert one.ages_s == {"one": pytest.approx(0.500001)}
    assert one.stale == {"two": pytest.approx(2.000001), "three": None}
    assert one.bids.contributions.tolist() == [[1, 0, 0]]
    assert one.ts > both.ts
    assert one.order_book().last_update_id == 0b001

    # Content that is old is old, however late it comes; and an older book changes nothing.
    assert books.update("three", book([(103, 9)], [(200, 1)], after_s=-60))
    assert not books.update("one", book([(999, 9)], [(1_200, 1)], after_s=1))
    still = books.find_book()
    assert still is not None
    assert still.frame("bids")["price"].tolist() == [1.02]
    books.update("two", book([(101, 2)], [(201, 2)], after_s=3.5))
    back = books.find_book()
    assert back is not None
    assert list(back.stale) == ["three"]


def test_other_pairs_and_broken_books_are_not_merged_in_silence() -> None:
    books = consolidator(Clock(START), ["one", Venue("two", "BTC-USD")])
    with pytest.raises(InvalidInputError, match="BTC/USDT"):
        books.update("one", book([(1, 1)], [], symbol="BTC/USD"))
    with pytest.raises(InvalidInputError, match="BTC/USD;"):
        books.update("two", book([(1, 1)], []))
    assert books.update("two", book([(1, 1)], [], symbol="BTC/USD"))
    with pytest.raises(InvalidInputError, match="two"):
        books.update("four", book([(1, 1)], []))
    for broken in (book([(5, 1)], [(5, 1)]), book([(5, 1), (6, 1)], []), book([(5, 0)], [])):
        with pytest.raises(InvalidInputError):
            books.update("one", broken)
    with pytest.raises(ScaleError):
        books.update("one", OrderBook(BTC, START, *(np.array([value]) for value in (1.005, 1.0, 2.0, 1.0))))
    found = books.find_book()
    assert found is not None
    assert list(found.ages_s) == ["two"]
    assert len(found.asks) == 0


def test_books_that_come_into_a_cache_are_taken_by_their_symbol() -> None:
    clock = Clock(START)
    cache = DataCacheManager(clock=clock)
    books = consolidator(clock, ["one", Venue("two", "BTC/USD")])
    stop = books.follow(cache)
    cache.put_orderbook(book([(1, 1)], [(9, 1)]))
    cache.put_orderbook(book([(2, 1)], [(8, 1)], symbol="BTC/USD"))
    cache.put_orderbook(book([(3, 1)], [(7, 1)], symbol="ETH/USDT"))
    stop()
    cache.put_orderbook(book([(4, 1)], [(6, 1)], after_s=0.1))
    found = books.find_book()
    assert found is not None
    assert found.bids.prices.tolist() == [2, 1]
    with pytest.raises(InvalidInputError, match="call `update`"):
        consolidator(clock, ["one", "two"]).follow(cache)

    alike = consolidator(clock, ["one", "two"])
    caches = {name: DataCacheManager(clock=clock) for name in alike.venues}
    for name, own in caches.items():
        alike.follow(own, name)
    caches["two"].put_orderbook(book([(1, 1)], [(9, 1)]))
    told = alike.find_book()
    assert told is not None
    assert list(told.ages_s) == ["two"]
    with pytest.raises(InvalidInputError, match="use one of one, two"):
        alike.follow(cache, "three")


@pytest.mark.parametrize(
    "options",
    [
        {"venues": []},
        {"venues": ["one", "one"]},
        {"bucket": "0.015"},
        {"bucket": 0.5},
        {"bucket": "0"},
        {"bucket": "much"},
        {"stale_after_s": 0.0},
        {"price_scale": 19},
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        consolidator(Clock(START), **options)


@pytest.mark.parametrize("weight", [0, "1.001", "0.0005", "-1", "NaN", "much", 0.5])
def test_weights_are_exact(weight: Any) -> None:
    with pytest.raises(InvalidInputError, match="weight"):
        Venue("one", weight=weight)


def test_the_symbol_of_a_consolidated_book() -> None:
    assert consolidated_symbol("btcusdt") == "BTCCOB/USDT"
    for wrong in ("BTCCOB/USDT", "ABCDEFGHIJKLMNOPQR/USDT"):
        with pytest.raises(InvalidInputError):
            consolidated_symbol(wrong)


def shifted(real: OrderBook, by: float, ts: datetime) -> OrderBook:
    bids, asks = ((prices + by).round(2) for prices in (real.bid_prices, real.ask_prices))
    return OrderBook(BTC, ts, bids, real.bid_sizes, asks, real.ask_sizes)


def test_two_venues_made_of_the_real_book_are_merged_level_by_level() -> None:
    """The second one is five seconds behind and, half of the time, dearer, so that they cross, as venues do."""
    real = capture_books("BTCUSDT")
    clock = Clock(START)
    books = Consolidator(BTC, ["one", "two"], price_scale=2, size_scale=5, bucket="1", clock=clock)
    crossed = 0
    for row in range(10, len(real), 5):
        first = real.book(row, BTC)
        held = {"one": first, "two": shifted(real.book(row - 10, BTC), row % 10 / 2, first.ts)}
        clock.now = first.ts
        for name, one in held.items():
            books.update(name, one)
        found = books.find_book()
        assert found is not None
        expected = oracle(held, Fraction(1), dict.fromkeys(held, Fraction(1)), size_scale=5)
        for side in ("bids", "asks"):
            assert exact(found.frame(side), ("one", "two")) == expected[side]
        stored = found.order_book()
        check_book(stored)
        is_crossed = max(b.bid_prices[0] for b in held.values()) >= min(
            b.ask_prices[0] for b in held.values()
        )
        assert (found.cross is not None) == is_crossed
        crossed += is_crossed
    assert 130 < crossed < 250
