"""An exchange in this process: it answers REST calls with real candles and sends JSON messages as Binance words them."""

from __future__ import annotations

import json
import queue
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from datalayer.domain.timeframe import Timeframe
from tests.cache_folders import real_candles

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIR = "BTCUSDT"


class LocalExchange:
    """Trades one pair; what it has not yet sent has not yet happened.

    Attributes:
        now: its clock, aware; each message moves it on.
        calls: REST calls so far.
    """

    def __init__(self, minutes: int) -> None:
        self._minutes = real_candles(0, 2 * minutes)
        self.now: datetime = self._minutes.index[minutes].to_pydatetime()
        self.calls = 0
        self._lock = threading.Lock()
        self._listeners: set[queue.Queue[str | None]] = set()
        self._trade_id = 0

    def fetch_ohlcv(self, symbol: str, timeframe: str, limit: int) -> list[list[float]]:
        """Return the last candles as ccxt does, the one that forms included: `[ms, open, high, low, close, volume]`."""
        self.calls += 1
        if symbol != "BTC/USDT":
            return []
        begun = self._minutes[self._minutes.index < self.now]
        parts = begun.resample(Timeframe.parse(timeframe).offset)
        rolled = parts.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
        rolled = rolled.dropna().round(8).iloc[-limit:]
        times = rolled.index.as_unit("ms").asi8  # type: ignore[attr-defined]
        return [[int(ms), *row] for ms, row in zip(times, rolled.to_numpy().tolist(), strict=True)]

    def history(self, timeframe: str) -> pd.DataFrame:
        """Return all candles that have closed, indexed by naive open time."""
        rows = self.fetch_ohlcv("BTC/USDT", timeframe, 10**6)
        frame = pd.DataFrame(rows, columns=["timestamp", "open", "high", "low", "close", "volume"])
        frame.index = pd.to_datetime(frame.pop("timestamp"), unit="ms").astype("datetime64[ns]")
        closed = frame.index + Timeframe.parse(timeframe).length <= self.now.replace(tzinfo=None)
        return frame[closed]

    def connect(self) -> tuple[Iterator[str], Any]:
        """Return the messages from now on, as they come, and what hangs up."""
        messages: queue.Queue[str | None] = queue.Queue()
        with self._lock:
            self._listeners.add(messages)

        def hang_up() -> None:
            with self._lock:
                self._listeners.discard(messages)
            messages.put(None)

        return iter(messages.get, None), hang_up

    def trade(self, price: float, size: float = 0.5, *, after_s: float = 0.1) -> int:
        """Let a trade happen, a little later; return its id."""
        self._trade_id += 1
        ms = self._later(after_s)
        values = {"t": self._trade_id, "p": f"{price:.2f}", "q": f"{size:.5f}", "T": ms, "m": False}
        self._send("trade", ms, values)
        return self._trade_id

    def minute(self, *, closed: bool, price: float | None = None) -> datetime:
        """Send the candle of this minute, as it forms (at a price) or closed with its real values; return its open time."""
        opened = Timeframe.M1.floor(self.now)
        row = self._minutes.loc[opened].copy()
        if price is not None:
            row["close"], row["high"], row["low"] = (
                price,
                max(row["open"], price),
                min(row["open"], price),
            )
        if closed:
            self.now = opened + timedelta(minutes=1)
        ms = self._later(0.0 if closed else 0.1)
        values = {name[0]: f"{row[name]:.8f}" for name in ("open", "high", "low", "close", "volume")}
        labels = {"t": int(opened.timestamp() * 1_000), "i": "1m", "n": 3, "x": closed}
        self._send("kline", ms, {"k": values | labels})
        return opened

    @property
    def close(self) -> float:
        """At what this minute will really close."""
        return float(self._minutes["close"][Timeframe.M1.floor(self.now)])

    def book(self, best_bid: float) -> None:
        """Send the best three levels of the book."""
        levels = [(best_bid - step, 1.0 + step) for step in range(3)]
        asks = [(best_bid + 1 + step, 2.0 + step) for step in range(3)]
        values = {
            name: [[f"{p:.2f}", f"{s:.5f}"] for p, s in side] for name, side in (("b", levels), ("a", asks))
        }
        self._send("depth20", self._later(0.1), values)

    def _later(self, after_s: float) -> int:
        self.now += timedelta(seconds=after_s)
        return round(self.now.timestamp() * 1_000)

    def _send(self, kind: str, ms: int, values: dict[str, Any]) -> None:
        text = json.dumps({"e": kind, "E": ms, "s": PAIR} | values)
        with self._lock:
            for listener in self._listeners:
                listener.put(text)
