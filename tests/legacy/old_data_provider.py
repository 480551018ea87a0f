"""The old component, as trading systems have it: a thread that streams, locks, callbacks, and Parquet files as a cache.

A faithful stand-in, written in its manner: frames indexed by naive times in nanoseconds (as pandas made them before its
third release), events as dictionaries, errors that are logged and passed over. Its own tests are beside it.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.legacy.local_exchange import LocalExchange

logger = logging.getLogger(__name__)
COLUMNS = ["open", "high", "low", "close", "volume"]


class DataProvider:
    """Candles, prices and books of some symbols."""

    def __init__(
        self, symbols: list[str], timeframes: list[str], cache_dir: str, exchange: LocalExchange
    ) -> None:
        self.symbols = symbols
        self.timeframes = timeframes
        self.cache_dir = Path(cache_dir)
        self.exchange = exchange
        self.data_lock = threading.RLock()
        self.subscriber_lock = threading.Lock()
        self.historical_data: dict[tuple[str, str], pd.DataFrame] = {}
        self.forming: dict[tuple[str, str], pd.DataFrame] = {}
        self.current_prices: dict[str, float] = {}
        self.order_books: dict[str, dict[str, Any]] = {}
        self.subscribers: dict[str, tuple[Callable[[dict[str, Any]], object], list[str], str]] = {}
        self.is_streaming = False
        self._thread: threading.Thread | None = None
        self._hang_up: Callable[[], None] | None = None
        self._load_cache()

    def get_historical_data(
        self, symbol: str, timeframe: str, limit: int = 1000, refresh: bool = False
    ) -> pd.DataFrame:
        key = self._key(symbol, timeframe)
        with self.data_lock:
            if refresh or key not in self.historical_data:
                self._fetch(key, limit)
            return self.historical_data[key].tail(limit).copy()

    def get_latest_candles(self, symbol: str, timeframe: str, limit: int = 100) -> pd.DataFrame:
        key = self._key(symbol, timeframe)
        with self.data_lock:
            history = self.get_historical_data(symbol, timeframe, limit)
            if key in self.forming:
                history = pd.concat([history, self.forming[key]])
            return history.tail(limit)

    def get_data(self, symbol: str, timestamp: Any = None, limit: int = 100) -> dict[str, Any] | None:
        """Everything at once; for a moment of the past, the candles that were closed by then."""
        symbol = self._key(symbol, self.timeframes[0])[0]
        with self.data_lock:
            candles = {
                timeframe: self.get_historical_data(symbol, timeframe) for timeframe in self.timeframes
            }
            if timestamp is not None:
                candles = {t: df[df.index + pd.Timedelta(t) <= timestamp] for t, df in candles.items()}
            if all(df.empty for df in candles.values()):
                return None
            return {
                "symbol": symbol,
                "candles": {t: df.tail(limit) for t, df in candles.items()},
                "order_book": self.order_books.get(symbol),
            }

    def get_current_price(self, symbol: str) -> float | None:
        symbol = self._key(symbol, self.timeframes[0])[0]
        with self.data_lock:
            if symbol in self.current_prices:
                return self.current_prices[symbol]
            history = self.get_historical_data(symbol, self.timeframes[0], 1)
            return None if history.empty else float(history["close"].iloc[-1])

    def get_multi_timeframe_data(
        self, symbol: str, timeframes: Iterable[str] | None = None, limit: int = 100
    ) -> dict[str, pd.DataFrame]:
        wanted = self.timeframes if timeframes is None else timeframes
        return {timeframe: self.get_historical_data(symbol, timeframe, limit) for timeframe in wanted}

    def get_order_book(self, symbol: str, depth: int = 20) -> dict[str, Any] | None:
        with self.data_lock:
            book = self.order_books.get(self._key(symbol, self.timeframes[0])[0])
            if book is None:
                return None
            return book | {"bids": book["bids"][:depth], "asks": book["asks"][:depth]}

    def subscribe(
        self,
        callback: Callable[[dict[str, Any]], object],
        symbols: list[str] | None = None,
        stream: str = "trades",
    ) -> str:
        subscriber_id = str(uuid.uuid4())[:8]
        with self.subscriber_lock:
            self.subscribers[subscriber_id] = (callback, symbols or self.symbols, stream)
        return subscriber_id

    def unsubscribe(self, subscriber_id: str) -> bool:
        with self.subscriber_lock:
            return self.subscribers.pop(subscriber_id, None) is not None

    def start_real_time_streaming(self) -> None:
        if self.is_streaming:
            return
        messages, self._hang_up = self.exchange.connect()
        self._thread = threading.Thread(target=self._stream, args=(messages,), daemon=True)
        self.is_streaming = True
        self._thread.start()

    def stop_real_time_streaming(self) -> None:
        if not self.is_streaming or self._hang_up is None or self._thread is None:
            return
        self.is_streaming = False
        self._hang_up()
        self._thread.join(timeout=5)

    def close(self) -> None:
        self.stop_real_time_streaming()

    def _key(self, symbol: str, timeframe: str) -> tuple[str, str]:
        canonical = symbol if "/" in symbol else symbol.replace("USDT", "/USDT")
        if canonical not in self.symbols:
            msg = f"unknown symbol {symbol}"
            raise ValueError(msg)
        if timeframe not in self.timeframes:
            msg = f"unknown timeframe {timeframe}"
            raise ValueError(msg)
        return canonical, timeframe

    def _cache_file(self, key: tuple[str, str]) -> Path:
        return self.cache_dir / f"{key[0].replace('/', '')}_{key[1]}.parquet"

    def _load_cache(self) -> None:
        for symbol in self.symbols:
            for timeframe in self.timeframes:
                path = self._cache_file((symbol, timeframe))
                if path.exists():
                    df = pd.read_parquet(path).astype({"timestamp": "datetime64[ns]"})
                    self.historical_data[symbol, timeframe] = df.set_index("timestamp")[COLUMNS]

    def _fetch(self, key: tuple[str, str], limit: int) -> None:
        try:
            rows = self.exchange.fetch_ohlcv(key[0], key[1], limit + 1)
        except Exception:
            logger.exception("cannot fetch %s", key)
            rows = []
        df = pd.DataFrame(rows, columns=["timestamp", *COLUMNS])
        df["timestamp"] = pd.to_datetime(df["timestamp"], unit="ms").astype("datetime64[ns]")
        df = df.set_index("timestamp").astype(float)
        # the last one has not closed yet
        self._merge(key, df[df.index + pd.Timedelta(key[1]) <= self.exchange.now.replace(tzinfo=None)])

    def _merge(self, key: tuple[str, str], df: pd.DataFrame) -> None:
        known = self.historical_data.get(key)
        merged = df if known is None else pd.concat([known, df])
        merged = merged[~merged.index.duplicated(keep="last")].sort_index()
        self.historical_data[key] = merged
        if not merged.empty:
            merged.reset_index().to_parquet(self._cache_file(key))

    def _stream(self, messages: Iterable[str]) -> None:
        for text in messages:
            try:
                self._handle(json.loads(text))
            except Exception:
                logger.exception("bad message")

    def _handle(self, message: dict[str, Any]) -> None:
        symbol = message["s"].replace("USDT", "/USDT")
        time = pd.to_datetime(message["E"], unit="ms")
        if message["e"] == "trade":
            price, volume = float(message["p"]), float(message["q"])
            with self.data_lock:
                self.current_prices[symbol] = price
            tick = {"symbol": symbol, "timestamp": time, "price": price, "volume": volume}
            side = "sell" if message["m"] else "buy"
            self._notify(symbol, "trades", tick | {"trade_id": message["t"], "side": side})
        elif message["e"] == "kline":
            self._handle_kline(symbol, message["k"])
        elif message["e"] == "depth20":
            sides = {
                name: [[float(price), float(size)] for price, size in message[name[0]]]
                for name in ("bids", "asks")
            }
            with self.data_lock:
                self.order_books[symbol] = {"symbol": symbol, "timestamp": time} | sides

    def _handle_kline(self, symbol: str, kline: dict[str, Any]) -> None:
        key, opened = (symbol, kline["i"]), pd.to_datetime(kline["t"], unit="ms")
        values = {name: float(kline[name[0]]) for name in COLUMNS}
        df = pd.DataFrame([values], index=pd.DatetimeIndex([opened], name="timestamp").as_unit("ns"))
        with self.data_lock:
            if not kline["x"]:
                self.forming[key] = df
                return
            self.forming.pop(key, None)
            self._merge(key, df)
        labels = {"symbol": symbol, "timeframe": key[1], "timestamp": opened}
        self._notify(symbol, key[1], labels | values)

    def _notify(self, symbol: str, stream: str, event: dict[str, Any]) -> None:
        with self.subscriber_lock:
            chosen = [
                callback
                for callback, symbols, wanted in self.subscribers.values()
                if wanted == stream and symbol in symbols
            ]
        for callback in chosen:
            try:
                callback(event)
            except Exception:
                logger.exception("a subscriber failed")
