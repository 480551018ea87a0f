"""The clock of a backtest: what a strategy sees at it, and that it sees nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from datalayer import Timeframe, connect
from datalayer.errors import InvalidInputError, LookAheadError, MissingDataError, NoDataError
from datalayer.integrations.backtesting import AsyncBacktestSource, BacktestSource
from tests.integration.backtesting.writing import BTC, ETH, MINUTE, START, numbered, write
from tests.integration.provider.feeding import store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings, sync

Seen = list[tuple[datetime, list[float]]]


def closes(source: BacktestSource, symbol: str = BTC, timeframe: str = "1m") -> Seen:
    series = source.series(symbol, timeframe)
    return [(now, series.window()[:, 3].tolist()) for now in source]


def at(minute: int) -> datetime:
    return START + minute * MINUTE


async def test_the_clock_stops_where_a_candle_closes_and_shows_what_is_closed(
    engine: AsyncEngine, market: sync.UnifiedDataProvider
) -> None:
    await write(engine, BTC, "1m", numbered(range(12)))
    await write(engine, BTC, "5m", numbered(range(2), Timeframe.M5))
    await write(engine, ETH, "1m", numbered([3, 8]))
    seen: list[Any] = []
    windows = {"1m": 3, Timeframe.M5: 2}
    with BacktestSource(market, ["btcusdt", ETH], windows, start=at(4), end=at(12)) as source:
        assert source.now == at(4)
        assert not len(source.series(BTC, "1m").window())
        minutes, fives, others = (source.series(*s) for s in ((BTC, "1m"), (BTC, "5m"), (ETH, "1m")))
        for now in source:
            assert source.now == now
            shown = [series.window()[:, 3].tolist() for series in (minutes, fives, others)]
            seen.append((now, *shown))
            assert minutes.opened()[-1].item().replace(tzinfo=UTC) == now - MINUTE
        assert source.now == at(11)
    assert seen == [
        (at(4), [1001, 1002, 1003], [], [1003]),  # what was closed before the start is there
        (at(5), [1002, 1003, 1004], [1000], [1003]),  # the five minutes from their end on
        (at(6), [1003, 1004, 1005], [1000], [1003]),
        (at(7), [1004, 1005, 1006], [1000], [1003]),
        (at(8), [1005, 1006, 1007], [1000], [1003]),
        (at(9), [1006, 1007, 1008], [1000], [1008]),  # after a gap its window begins anew
        (at(10), [1007, 1008, 1009], [1000, 1001], [1008]),
        (at(11), [1008, 1009, 1010], [1000, 1001], [1008]),
    ]


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 50_000])
async def test_neither_batches_nor_a_break_change_what_is_seen(
    engine: AsyncEngine, market: sync.UnifiedDataProvider, settings: Settings, batch_rows: int
) -> None:
    await write(engine, BTC, "1m", numbered([*range(9), *range(11, 20)]))
    await write(engine, ETH, "1m", numbered([2, 3, 4, 18]))

    def source(**options: Any) -> BacktestSource:
        return BacktestSource(market, [BTC, ETH], {"1m": 4, "5m": 2}, start=at(0), **options)

    with source(as_of=at(30)) as whole:
        expected = closes(whole)
    assert [now for now, _ in expected] == [at(n) for n in [*range(1, 11), *range(12, 21)]]  # 10: the five
    with source(batch_rows=batch_rows, as_of=at(30)) as interrupted:
        series = interrupted.series(BTC, "1m")
        seen: Seen = []
        while len(seen) < len(expected):
            for now in interrupted:
                seen.append((now, series.window()[:, 3].tolist()))
                if len(seen) % 3 == 0:
                    break
        assert list(interrupted) == []
    assert seen == expected

    async with connect(settings=settings) as other:
        options: dict[str, Any] = {"start": at(0), "as_of": at(30), "batch_rows": batch_rows}
        async with AsyncBacktestSource(other, [BTC, ETH], {"1m": 4, "5m": 2}, **options) as asynchronous:
            minutes = asynchronous.series(BTC, "1m")
            assert [(now, minutes.window()[:, 3].tolist()) async for now in asynchronous] == expected


async def test_a_gap_is_treated_as_asked(engine: AsyncEngine, market: sync.UnifiedDataProvider) -> None:
    await write(engine, BTC, "1m", numbered([0, 1, 2, 5, 6]))
    options: dict[str, Any] = {"start": at(1), "end": at(10)}
    with BacktestSource(market, [BTC], {"1m": 3}, **options) as source:
        assert [len(window) for _, window in closes(source)] == [1, 2, 3, 1, 2]
    with BacktestSource(market, [BTC], {"1m": 3}, on_gap="mark", **options) as source:
        assert closes(source)[-2:] == [(at(6), [1001, 1002, 1005]), (at(7), [1002, 1005, 1006])]
        steps = np.diff(source.series(BTC, "1m").opened())
        assert steps.tolist() == [3 * MINUTE, MINUTE]
    for rows in (1, 2, 100):
        refusing = BacktestSource(market, [BTC], {"1m": 3}, on_gap="refuse", batch_rows=rows, **options)
        with refusing as source:
            seen: list[datetime] = []
            for _ in range(2):  # and again
                with pytest.raises(MissingDataError) as refused:
                    seen += iter(source)
            assert refused.value.intervals == ((at(3), at(5)),)
            assert source.now == at(3)
        assert seen == [at(1), at(2), at(3)] or rows < 100


async def test_nothing_beyond_the_clock_is_given(
    engine: AsyncEngine, market: sync.UnifiedDataProvider
) -> None:
    await store(engine, range(200))
    windows = {"1s": 30, "1m": 2}
    second = timedelta(seconds=1)
    with BacktestSource(market, [BTC], windows, start=START + 90 * second) as source:
        series = source.series(BTC, "1s")
        for now in source:
            if now < START + 100 * second:
                continue
            frame = series.frame(now - 10 * second, now)
            assert frame.index[-1] == now - second
            assert len(frame) == 10
            assert len(series.frame()) == 30
            with pytest.raises(LookAheadError) as refused:
                series.frame(end=now + timedelta(microseconds=1))
            assert (refused.value.visible_at, refused.value.now) == (now + second, now)
            with pytest.raises(InvalidInputError, match="make it longer"):
                series.frame(now - 31 * second)
            break

        clocked, at_clock = source.market, START + 100 * second
        assert clocked.get_inference_data(BTC).as_of == at_clock
        assert clocked.get_trades(BTC, START).index[-1] == at_clock
        assert clocked.get_order_book_data(BTC).timestamp == at_clock
        table = clocked.get_multi_timeframe_data(BTC, ["1s", "1m"], limit=5)["1m"]
        assert table.index[-1] == at_clock
        assert table["open_time"].iloc[-1] == START
        later = at_clock + timedelta(microseconds=1)
        for ask in (
            lambda: clocked.get_inference_data(BTC, later),
            lambda: clocked.get_inference_data(BTC, at_clock - second, 1),
            lambda: clocked.get_trades(BTC, START, as_of=later),
            lambda: clocked.get_order_book_data(BTC, later),
            lambda: clocked.get_multi_timeframe_data(BTC, limit=5, as_of=later),
        ):
            with pytest.raises(LookAheadError):
                ask()
        context = clocked.get_inference_data(BTC, at_clock - 60 * second, 1)
        assert context.context_after[Timeframe.S1].index[-1] == at_clock - second
        with pytest.raises(NoDataError):
            clocked.get_trades(BTC, at_clock + second)
        # What was handed out cannot be used to look on or to change what others see.
        base: Any = series.window()
        while base is not None:
            assert not base.flags.writeable
            base = base.base


async def test_bad_arguments_are_refused(engine: AsyncEngine, market: sync.UnifiedDataProvider) -> None:
    await write(engine, BTC, "1m", numbered([0]))

    def made(
        symbols: list[str] | None = None, windows: dict[Any, int] | None = None, **options: Any
    ) -> BacktestSource:
        chosen = {"start": at(0), **options}
        return BacktestSource(
            market, [BTC] if symbols is None else symbols, {"1m": 1} if windows is None else windows, **chosen
        )

    for options in (
        {"symbols": []},
        {"windows": {}},
        {"windows": {"1m": 0}},
        {"windows": {"3m": 1}},
        {"windows": {"1m": 1, "60s": 2}},
        {"start": datetime(2024, 8, 8)},  # noqa: DTZ001 - naive on purpose
        {"end": at(-1)},
        {"columns": []},
        {"on_gap": "ignore"},
        {"batch_rows": 0},
    ):
        with pytest.raises(InvalidInputError):
            made(**options)
    with pytest.raises(InvalidInputError, match="BTC/USDT 1m"):
        made().series(ETH, "1m")
    with made(["XLM/EUR"]) as source, pytest.raises(InvalidInputError, match="not registered"):
        list(source)
    with made(start=datetime.min.replace(tzinfo=UTC), as_of=at(5)) as source:
        assert list(source) == [at(1)]
