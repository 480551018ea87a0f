"""Months of history in bounded memory: streams of batches, a replay of everything, sliding windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from datalayer.db.retry import RetryableDBOperation
from datalayer.domain.moments import utc_moment
from datalayer.domain.sliding_windows import OHLCV, GapPolicy, SlidingWindows
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories.history_batches import BookBatches, CandleBatches, Position, TradeBatches
from datalayer.repositories.history_stream import BatchStream
from datalayer.repositories.moments import visible_range
from datalayer.repositories.replay import Feed, Replay
from datalayer.repositories.replay_records import BookRecords, CandleRecords, TradeRecords
from datalayer.repositories.window_stream import WindowStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.steps import PriceType
    from datalayer.repositories.candles import CandleSource
    from datalayer.repositories.history_batches import Step

Batch = TypeVar("Batch")


class MarketHistory:
    """Streams history for backtests; opens short transactions of its own, each tried again if it fails in passing.

    Nothing later than `as_of` is ever in a stream; `as_of` is fixed when the stream is made. Each batch is read in a
    transaction of its own, so a range that is written to meanwhile may show what was there when its turn came; history
    that is closed and complete, as `CoverageRepository` tells, shows the same each time.

    Args:
        database: an open connection manager, or an engine.
        retry: how a failed batch is tried again. Default: within two minutes.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        *,
        retry: RetryableDBOperation | None = None,
    ) -> None:
        self._database = database
        self._retry = retry or RetryableDBOperation(deadline_s=120)

    def stream_ohlcv(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        *,
        start: datetime,
        end: datetime | None = None,
        as_of: datetime | None = None,
        source: CandleSource = "best",
        price_type: PriceType = "float",
        batch_rows: int = 50_000,
    ) -> BatchStream[pd.DataFrame]:
        """Return a stream of the closed candles whose open time is in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            start: first open time, aware, included.
            end: aware, excluded; None: to the last one that is closed at `as_of`.
            as_of: what was closed at this time, aware. None: now, once for the whole stream.
            source: see `CandleSource`.
            price_type: "float" or "decimal".
            batch_rows: most rows of a batch.

        Returns:
            Frames as `query_ohlcv_data` gives them, ascending, never empty, no candle twice.

        Raises:
            InvalidInputError: a time is naive, `end` is before `start`, `batch_rows` is not positive, or "fixed" is asked
                for. An unknown symbol is refused with the first batch.
        """
        length = Timeframe.parse(timeframe)
        moment = _now(as_of)
        first, last = _range(start, end, moment, length)
        batches = CandleBatches(
            canonical_symbol(symbol),
            length,
            length.ceil(last),
            moment,
            _checked(batch_rows, price_type),
            source,
            price_type,
        )
        name = f"{batches.symbol} {length.label}"
        return self._stream(name, length.ceil(first), batches.end, batches.read)

    def stream_trades(
        self,
        symbol: str,
        *,
        start: datetime,
        end: datetime | None = None,
        as_of: datetime | None = None,
        price_type: PriceType = "float",
        batch_rows: int = 50_000,
    ) -> BatchStream[pd.DataFrame]:
        """Return a stream of the trades with times in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            start: first time, aware, included.
            end: aware, excluded; None: to the last one visible at `as_of`.
            as_of: what was visible at this time, aware: `ts <= as_of`. None: now, once for the whole stream.
            price_type: "float" or "decimal".
            batch_rows: most rows of a batch. A batch may end between trades of one time.

        Returns:
            Frames as `query_trades` gives them, ascending by time and id, never empty, no trade twice.

        Raises:
            InvalidInputError: as `stream_ohlcv`.
        """
        first, last = _range(start, end, _now(as_of))
        batches = TradeBatches(canonical_symbol(symbol), last, _checked(batch_rows, price_type), price_type)
        return self._stream(f"{batches.symbol} trades", first, last, batches.read)

    def stream_orderbook_snapshots(
        self,
        symbol: str,
        *,
        start: datetime,
        end: datetime | None = None,
        as_of: datetime | None = None,
        batch_rows: int = 5_000,
    ) -> BatchStream[OrderBookColumns]:
        """Return a stream of the order books with times in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            start: first time, aware, included.
            end: aware, excluded; None: to the last one visible at `as_of`.
            as_of: what was visible at this time, aware: `ts <= as_of`. None: now, once for the whole stream.
            batch_rows: most snapshots of a batch.

        Returns:
            Snapshots, ascending, never empty, each as wide as the deepest of its batch; none twice.

        Raises:
            InvalidInputError: as `stream_ohlcv`.
        """
        first, last = _range(start, end, _now(as_of))
        batches = BookBatches(canonical_symbol(symbol), last, _checked(batch_rows))
        return self._stream(f"{batches.symbol} order books", first, last, batches.read)

    def stream_windows(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        length: int,
        *,
        start: datetime,
        end: datetime | None = None,
        as_of: datetime | None = None,
        columns: Sequence[str] = OHLCV,
        on_gap: GapPolicy = "restart",
        source: CandleSource = "best",
        batch_rows: int = 50_000,
    ) -> WindowStream:
        """Return a stream of the windows of `length` candles in `[start, end)`, each candle read once.

            async for block in history.stream_windows("BTC/USDT", "1m", 60, start=start, end=end):
                for decided_at, window in block:
                    ...

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            length: number of candles in a window.
            start: first open time, aware, included; the first window ends `length` candles later.
            end: aware, excluded; None: to the last one that is closed at `as_of`.
            as_of: what was closed at this time, aware. None: now, once for the whole stream.
            columns: some of open, high, low, close, volume, trade_count.
            on_gap: see `GapPolicy`; "restart": the first window after a gap ends `length` candles after it.
            source: see `CandleSource`.
            batch_rows: most candles read at a time, and in a block.

        Raises:
            InvalidInputError: as `stream_ohlcv`, or `length`, `columns` or `on_gap` cannot be used.
        """
        windows = SlidingWindows(timeframe, length, columns=columns, on_gap=on_gap)
        candles = self.stream_ohlcv(
            symbol, timeframe, start=start, end=end, as_of=as_of, source=source, batch_rows=batch_rows
        )
        return WindowStream(candles, windows)

    def replay(
        self,
        symbols: Iterable[str],
        *,
        start: datetime,
        end: datetime | None = None,
        as_of: datetime | None = None,
        timeframes: Iterable[Timeframe | str] = (),
        trades: bool = False,
        order_books: bool = False,
        source: CandleSource = "best",
        batch_rows: int = 20_000,
    ) -> Replay:
        """Return what became visible in `[start, end)`, in that order, as `ReplayEvent`.

        A candle becomes visible at its close, a trade and an order book at their time. At equal times candles come first, so
        that those that close at t are known before anything that happens at t, the shorter timeframe first; then trades,
        then order books. Of each of these the symbols follow in the order of the alphabet, and trades of one symbol by id.
        The order depends on nothing else, neither on the order of the arguments nor on `batch_rows`.

        Each stream (a timeframe of a symbol, its trades, its books) holds two batches at most, or all of one microsecond
        if that is more, and reads with a connection of its own while it reads.

        Args:
            symbols: registered instruments, in any known spelling.
            start: first moment, aware, included: a candle that closes then is the first.
            end: aware, excluded; None: all that was visible at `as_of`.
            as_of: nothing that became visible later, aware. None: now, once for the whole replay.
            timeframes: of candles to replay.
            trades: whether to replay trades.
            order_books: whether to replay order books.
            source: of candles; see `CandleSource`.
            batch_rows: most rows of a batch of each stream; order books, which are larger, a tenth of it.

        Raises:
            InvalidInputError: a time is naive, `end` is before `start`, `batch_rows` is not positive, or
                there is nothing to replay. An unknown symbol is refused with the first event.
        """
        moment = _now(as_of)
        first, last = _range(start, end, moment)
        names = sorted({canonical_symbol(symbol) for symbol in symbols})
        lengths = sorted({Timeframe.parse(timeframe) for timeframe in timeframes})
        if not names or not (lengths or trades or order_books):
            raise InvalidInputError("symbols", names, "give a symbol, and timeframes, trades or order_books")
        bounds: dict[str, Any] = {"as_of": moment, "batch_rows": batch_rows}
        feeds: list[Feed[Any]] = []
        for length, name in product(lengths, names):
            opens, until = _before(first, length), _before(last, length)
            candles = self.stream_ohlcv(name, length, start=opens, end=until, source=source, **bounds)
            feeds.append(Feed(candles, CandleRecords(name, length)))
        bounds |= {"start": first, "end": last}
        if trades:
            feeds += [Feed(self.stream_trades(name, **bounds), TradeRecords(name)) for name in names]
        if order_books:
            bounds["batch_rows"] = max(batch_rows // 10, 1)
            feeds += [
                Feed(self.stream_orderbook_snapshots(name, **bounds), BookRecords(name)) for name in names
            ]
        return Replay(feeds)

    def _stream(
        self,
        name: str,
        first: datetime,
        end: datetime,
        read: Callable[[AsyncConnection, Position], Awaitable[Step[Batch]]],
    ) -> BatchStream[Batch]:
        async def read_one(position: Position) -> Step[Batch]:
            async with self._engine.connect() as conn, conn.begin():
                return await read(conn, position)

        async def read_in_tries(position: Position) -> Step[Batch]:
            return await self._retry(read_one, position)

        return BatchStream(name, Position(first) if first < end else None, read_in_tries)

    @property
    def _engine(self) -> AsyncEngine:
        return self._database if isinstance(self._database, AsyncEngine) else self._database.engine


def _now(as_of: datetime | None) -> datetime:
    return datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")


def _range(
    start: datetime, end: datetime | None, as_of: datetime, timeframe: Timeframe | None = None
) -> tuple[datetime, datetime]:
    length = timedelta(0) if timeframe is None else timeframe.length
    _, last = visible_range(start, end, as_of, length=length)
    return utc_moment(start, "start"), last


def _before(moment: datetime, timeframe: Timeframe) -> datetime:
    """Return the open of a candle that closes at a moment; the calendar begins in the year 1."""
    return moment - min(timeframe.length, moment - datetime.min.replace(tzinfo=UTC))


def _checked(batch_rows: int, price_type: PriceType = "float") -> int:
    if batch_rows < 1:
        raise InvalidInputError("batch_rows", batch_rows, "a batch has at least one row")
    if price_type == "fixed":
        hint = (
            "a scale may be widened between two batches, which changes what steps mean; use float or decimal"
        )
        raise InvalidInputError("price_type", price_type, hint)
    return batch_rows
