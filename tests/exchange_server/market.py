"""A recorded market, message by message, and what an exchange knows at each of them."""

from __future__ import annotations

import gzip
import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.market_files import market_file

if TYPE_CHECKING:
    from collections.abc import Iterator

Book = tuple[dict[str, str], dict[str, str]]
LENGTHS_MS = {"1s": 1_000, "1m": 60_000}


@dataclass(frozen=True, slots=True)
class Step:
    """One message of an exchange, as Binance writes it.

    Attributes:
        stream: its name, `btcusdt@trade`.
        data: its content; times in milliseconds.
        receive_ms: when it was recorded.
    """

    stream: str
    data: dict[str, Any]
    receive_ms: float

    @property
    def kind(self) -> str:
        return self.stream.partition("@")[2]


@dataclass(eq=False)
class Market:
    """One symbol. `cursor` is how far the exchange has come.

    Attributes:
        pair: as in `BTCUSDT`.
        snapshot: the recorded REST snapshot.
        steps: all messages, candles that follow from the trades among them.
    """

    pair: str
    snapshot: dict[str, Any]
    steps: list[Step]
    cursor: int = 0
    _books: list[tuple[int, Book]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trades = [step.data for step in self.steps if step.kind == "trade"]
        self._trade_places = [place for place, step in enumerate(self.steps) if step.kind == "trade"]
        self.klines = {label: _closed_klines(self.trades, label) for label in LENGTHS_MS}
        sides = (
            {level[0]: level[1] for level in self.snapshot["bids"]},
            {level[0]: level[1] for level in self.snapshot["asks"]},
        )
        self.book: Book = sides
        self.update_id: int = self.snapshot["lastUpdateId"]

    def advance(self) -> Step:
        """Let the next message happen."""
        step = self.steps[self.cursor]
        self.cursor += 1
        if step.kind == "depth@100ms" and step.data["u"] > self.update_id:
            for side, key in zip(self.book, "ba", strict=True):
                for price, size in step.data[key]:
                    if float(size):
                        side[price] = size
                    else:
                        side.pop(price, None)
            self.update_id = step.data["u"]
        return step

    @property
    def now_ms(self) -> int:
        """The exchange's time."""
        return max(
            (self.steps[n].data.get("E", 0) for n in range(max(0, self.cursor - 50), self.cursor)), default=0
        )

    def known_trades(self, first_id: int, limit: int) -> list[dict[str, Any]]:
        """Trades that have happened, from an id on."""
        known = self.trades[: bisect_left(self._trade_places, self.cursor)]
        start = bisect_left(known, first_id, key=lambda trade: trade["t"])
        return known[start : start + limit]

    def trades_before(self, after_id: int, limit: int) -> list[dict[str, Any]]:
        """Trades that have happened and have smaller ids, the newest first."""
        known = self.trades[: bisect_left(self._trade_places, self.cursor)]
        end = bisect_left(known, after_id, key=lambda trade: trade["t"])
        return known[max(0, end - limit) : end][::-1]

    def known_klines(self, label: str, start_ms: int, end_ms: int, limit: int) -> list[dict[str, Any]]:
        """Closed candles that open in a range, both ends included."""
        candles = self.klines[label]
        first = bisect_left(candles, start_ms, key=lambda candle: candle["t"])
        last = bisect_right(candles, end_ms, key=lambda candle: candle["t"])
        return [candle for candle in candles[first:last] if candle["T"] < self.now_ms][:limit]


def load_market(pair: str = "BTCUSDT", *, most: int | None = None, quotes: bool = False) -> Market:
    """Return the recorded market of a pair; `most` messages of it, up to the last trade among them."""
    snapshot, steps = _recording(pair, most, quotes=quotes)
    last = max(place for place, step in enumerate(steps) if step.kind == "trade")
    return Market(pair, snapshot, steps[: last + 1])


def shifted(market: Market, shift_ms: int) -> Market:
    """Return the same market at another time."""
    steps = [
        Step(step.stream, _moved(step.data, shift_ms), step.receive_ms + shift_ms) for step in market.steps
    ]
    return Market(market.pair, market.snapshot, steps)


def _moved(data: dict[str, Any], shift_ms: int) -> dict[str, Any]:
    moved = data | {key: data[key] + shift_ms for key in ("E", "T") if key in data}
    if "k" in data:
        moved["k"] = data["k"] | {key: data["k"][key] + shift_ms for key in "tT"}
    return moved


@cache
def _recording(pair: str, most: int | None, *, quotes: bool) -> tuple[dict[str, Any], list[Step]]:
    snapshot: dict[str, Any] = {}
    recorded: list[Step] = []
    for day in ("20240808", "20240809"):
        packed = market_file(f"captures/spot_{pair.lower()}_{day}.gz").read_bytes()
        for line in gzip.decompress(packed).splitlines():
            if most is not None and len(recorded) >= most:
                break
            stamp, _, text = line.partition(b" ")
            document = json.loads(text)
            if "lastUpdateId" in document:
                snapshot = document
            elif (most is None or len(recorded) < most) and (
                quotes or "bookTicker" not in document["stream"]
            ):
                recorded.append(Step(document["stream"], document["data"], int(stamp) / 1e6))
    return snapshot, list(_with_klines(pair, recorded))


def _with_klines(pair: str, recorded: list[Step]) -> Iterator[Step]:
    """Add candles: closed when a trade of a later one comes, and the forming minute each second."""
    seen: list[dict[str, Any]] = []
    for step in recorded:
        if step.kind == "trade":
            if seen and step.data["T"] // 1_000 > seen[-1]["T"] // 1_000:
                yield from _due_klines(pair, seen, step)
                minute = step.data["T"] // 60_000
                seen = [trade for trade in seen if trade["T"] // 60_000 == minute or trade is seen[-1]]
            seen.append(step.data)
        yield step


def _due_klines(pair: str, seen: list[dict[str, Any]], step: Step) -> Iterator[Step]:
    now = step.data["T"]
    for label, length in LENGTHS_MS.items():
        first = seen[-1]["T"] // length
        for number in range(first, now // length):
            inside = [trade for trade in seen if trade["T"] // length == number]
            candle = _kline(label, number * length, inside, seen[-1]["p"])
            yield _kline_step(pair, step, candle, is_closed=True)
    minute = now // 60_000
    inside = [trade for trade in seen if trade["T"] // 60_000 == minute]
    if inside:
        yield _kline_step(pair, step, _kline("1m", minute * 60_000, inside, ""), is_closed=False)


def _kline_step(pair: str, step: Step, candle: dict[str, Any], *, is_closed: bool) -> Step:
    data = {"e": "kline", "E": step.data["E"], "s": pair, "k": candle | {"x": is_closed}}
    return Step(f"{pair.lower()}@kline_{candle['i']}", data, step.receive_ms)


def _kline(label: str, open_ms: int, trades: list[dict[str, Any]], before: str) -> dict[str, Any]:
    prices = [trade["p"] for trade in sorted(trades, key=lambda trade: trade["t"])] or [before]
    volume = sum(round(float(trade["q"]) * 1e8) for trade in trades)
    return {
        "t": open_ms,
        "T": open_ms + LENGTHS_MS[label] - 1,
        "i": label,
        "o": prices[0],
        "c": prices[-1],
        "h": max(prices, key=float),
        "l": min(prices, key=float),
        "v": f"{volume // 10**8}.{volume % 10**8:08}",
        "n": len(trades),
    }


def _closed_klines(trades: list[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    """All candles that the trades make, but for the last, which is not over."""
    length = LENGTHS_MS[label]
    groups: dict[int, list[dict[str, Any]]] = {}
    for trade in trades:
        groups.setdefault(trade["T"] // length, []).append(trade)
    numbers = range(min(groups), max(groups))
    candles, before = [], groups[min(groups)][-1]["p"]
    for number in numbers:
        candle = _kline(label, number * length, groups.get(number, []), before)
        before = candle["c"]
        candles.append(candle)
    return candles
