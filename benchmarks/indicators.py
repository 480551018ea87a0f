"""Indicators by TA-Lib (ours, and bare), pandas-ta-classic and pandas alone: speed, exactness, gaps, forgetting.

    python -m benchmarks.indicators [--rows N] [--runs K] [--quick]

pandas-ta-classic is no dependency of the project; `pip install pandas-ta-classic` brings it, else it is left out.

Predictions for 2 cores, 100,000 rows, all eight indicators, written down before the first run: bare TA-Lib 8 ms, ours
14, pandas alone 40; the last 500 candles by ours in 1 ms. pandas-ta-classic had been tried before, with about 200.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.harness import Comparison, Stopwatch, arguments, candles
from datalayer.domain.indicators import (
    Atr,
    BollingerBands,
    Ema,
    Indicator,
    Macd,
    Obv,
    Rsi,
    Sma,
    Vwap,
    compute_indicators,
)
from datalayer.domain.indicators.library import load_talib
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INDICATORS: dict[str, Indicator] = {
    "sma": Sma(20),
    "ema": Ema(20),
    "macd": Macd(12, 26, 9),
    "bollinger": BollingerBands(20, 2.0),
    "rsi": Rsi(14),
    "atr": Atr(14),
    "obv": Obv(),
    "vwap": Vwap(),
}
STARTS = 40


def ours(name: str) -> Callable[[pd.DataFrame], list[Any]]:
    def way(c: pd.DataFrame) -> list[Any]:
        made = compute_indicators(c, [INDICATORS[name]], timeframe="1m")
        return [made[column] for column in made]

    return way


def by_talib() -> dict[str, Callable[[pd.DataFrame], list[Any]]]:
    ta = load_talib()
    return {
        "sma": lambda c: [ta.SMA(c["close"], 20)],
        "ema": lambda c: [ta.EMA(c["close"], 20)],
        "macd": lambda c: list(ta.MACD(c["close"], 12, 26, 9)),
        "bollinger": lambda c: list(ta.BBANDS(c["close"], 20, 2.0, 2.0)),
        "rsi": lambda c: [ta.RSI(c["close"], 14)],
        "atr": lambda c: [ta.ATR(c["high"], c["low"], c["close"], 14)],
        "obv": lambda c: [ta.OBV(c["close"], c["volume"])],
    }


def by_pandas_ta() -> dict[str, Callable[[pd.DataFrame], list[Any]]]:
    ta = importlib.import_module("pandas_ta_classic")

    def columns(frame: pd.DataFrame, *order: int) -> list[Any]:
        return [frame.iloc[:, position] for position in order]

    return {
        "sma": lambda c: [ta.sma(c["close"], 20, talib=False)],
        "ema": lambda c: [ta.ema(c["close"], 20, talib=False)],
        "macd": lambda c: columns(ta.macd(c["close"], 12, 26, 9, talib=False), 0, 2, 1),
        "bollinger": lambda c: columns(ta.bbands(c["close"], 20, 2.0, talib=False), 2, 1, 0),
        "rsi": lambda c: [ta.rsi(c["close"], 14, talib=False)],
        "atr": lambda c: [ta.atr(c["high"], c["low"], c["close"], 14, talib=False)],
        "obv": lambda c: [ta.obv(c["close"], c["volume"], talib=False)],
        # It warns about aware times, which it takes for local ones.
        "vwap": lambda c: [ta.vwap(**c[["high", "low", "close", "volume"]].tz_localize(None)).to_numpy()],
    }


def smoothed(values: pd.Series, length: int, weight: float) -> pd.Series:
    """An exponential average that starts, as TA-Lib's does, with the mean of the first values."""
    begin = int(np.argmax(values.notna())) + length - 1
    seeded = values.copy()
    seeded.iloc[:begin] = np.nan
    seeded.iloc[begin] = values.iloc[begin - length + 1 : begin + 1].mean()
    return seeded.ewm(alpha=weight, adjust=False).mean()


def by_pandas() -> dict[str, Callable[[pd.DataFrame], list[Any]]]:
    return {
        "sma": lambda c: [c["close"].rolling(20).mean()],
        "ema": lambda c: [smoothed(c["close"], 20, 2 / 21)],
        "macd": lambda c: pandas_macd(c["close"]),
        "bollinger": lambda c: pandas_bands(c["close"]),
        "rsi": lambda c: [pandas_rsi(c["close"].diff())],
        "atr": lambda c: [smoothed(true_range(c), 14, 1 / 14)],
        "obv": lambda c: [(np.sign(c["close"].diff()).fillna(1.0) * c["volume"]).cumsum()],
        "vwap": pandas_vwap,
    }


def pandas_macd(close: pd.Series) -> list[Any]:
    fast = smoothed(late(close), 12, 2 / 13)
    line = fast - smoothed(close, 26, 2 / 27)
    signal = smoothed(line, 9, 2 / 10)
    return [line.where(signal.notna()), signal, line - signal]


def late(close: pd.Series) -> pd.Series:
    """The fast average of TA-Lib's MACD starts where the slow one does."""
    return close.where(np.arange(len(close)) >= INDICATORS["macd"].slow - INDICATORS["macd"].fast)


def pandas_bands(close: pd.Series) -> list[Any]:
    window = close.rolling(20)
    middle, width = window.mean(), 2 * window.std(ddof=0)
    return [middle + width, middle, middle - width]


def pandas_rsi(change: pd.Series) -> pd.Series:
    gain = smoothed(change.clip(lower=0), 14, 1 / 14)
    return 100 * gain / (gain + smoothed(-change.clip(upper=0), 14, 1 / 14))


def true_range(c: pd.DataFrame) -> pd.Series:
    before = c["close"].shift()
    high, low = np.maximum(c["high"], before), np.minimum(c["low"], before)
    return (high - low).where(before.notna())


def pandas_vwap(c: pd.DataFrame) -> list[Any]:
    day = c.index.floor("D")
    money = (c["high"] + c["low"] + c["close"]) / 3 * c["volume"]
    return [money.groupby(day).cumsum() / c["volume"].groupby(day).cumsum()]


def candidates() -> dict[str, dict[str, Callable[[pd.DataFrame], list[Any]]]]:
    chosen = {"ours": {name: ours(name) for name in INDICATORS}, "TA-Lib": by_talib(), "pandas": by_pandas()}
    if importlib.util.find_spec("pandas_ta_classic"):
        return chosen | {"pandas-ta-classic": by_pandas_ta()}
    print("pandas-ta-classic is not installed and is left out")
    return chosen


def timed(work: Callable[[], object]) -> Callable[[], Awaitable[float]]:
    async def way() -> float:
        with Stopwatch() as watch:
            work()
        return watch.seconds

    return way


async def speed(frame: pd.DataFrame, runs: int) -> None:
    each = {}
    for name in INDICATORS:
        ways = {
            who: timed(lambda way=made[name]: way(frame)) for who, made in candidates_.items() if name in made
        }
        each[name] = Comparison(name, len(frame), "ours", ways)
        await each[name].run(runs)
    show(
        f"{len(frame):,} candles, ms (medians)",
        lambda who, name: f"{statistics.median(each[name].seconds[who]) * 1e3:,.2f}",
    )
    rows = {f"ours, last {n:,}": frame.iloc[-n:] for n in (500, len(frame))}
    ways = {
        who: timed(lambda c=c: compute_indicators(c, list(INDICATORS.values()), timeframe="1m"))
        for who, c in rows.items()
    }
    together = Comparison("All eight at once", len(frame), next(iter(rows)), ways)
    await together.run(runs)
    print(
        "\nAll eight at once, ms: ",
        {w: f"{statistics.median(s) * 1e3:.2f}" for w, s in together.seconds.items()},
    )


def show(title: str, cell: Callable[[str, str], str]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(candidates_)} |\n|---|{'---:|' * len(candidates_)}")
    for name in INDICATORS:
        print(
            f"| {name} | {' | '.join(cell(w, name) if name in m else '-' for w, m in candidates_.items())} |"
        )


def exactness(frame: pd.DataFrame, title: str) -> None:
    """Largest difference from the same formula in numbers of 64 bits mantissa (numpy longdouble)."""
    wanted = {name: reference(name, frame) for name in INDICATORS}
    unit = dict.fromkeys(INDICATORS, float(frame["close"].max()))
    unit |= {"rsi": 100.0, "obv": float(frame["volume"].sum())}

    def worst(who: str, name: str) -> str:
        made = candidates_[who][name](frame)
        apart = [np.abs(np.asarray(m) - w) for m, w in zip(made, wanted[name], strict=True)]
        return f"{max(float(np.nanmax(column)) for column in apart) / unit[name]:.0e}"

    show(title, worst)


def reference(name: str, frame: pd.DataFrame) -> list[Any]:
    c = frame.astype(np.longdouble)
    windows = np.lib.stride_tricks.sliding_window_view(c["close"].to_numpy(), 20)
    middle, width = (np.r_[np.full(19, np.nan), part] for part in (windows.mean(1), 2 * windows.std(1)))
    formulas: dict[str, Callable[[], list[Any]]] = {
        "sma": lambda: [middle],
        "bollinger": lambda: [middle + width, middle, middle - width],
        "ema": lambda: [recursion(c["close"], 20, 2, 21)],
        "macd": lambda: macd_reference(c["close"]),
        "rsi": lambda: [rsi_reference(c["close"].diff())],
        "atr": lambda: [recursion(true_range(c), 14, 1, 14)],
        "obv": lambda: [
            np.cumsum(np.sign(c["close"].diff()).fillna(1.0).to_numpy() * c["volume"].to_numpy())
        ],
        "vwap": lambda: [np.concatenate([vwap_reference(day) for _, day in c.groupby(c.index.floor("D"))])],
    }
    return formulas[name]()


def recursion(values: pd.Series, length: int, above: int, below: int) -> Any:
    x, weight = values.to_numpy(), np.longdouble(above) / below
    begin = int(np.argmax(~np.isnan(x))) + length - 1
    result = np.full(len(x), np.nan, dtype=np.longdouble)
    result[begin] = x[begin - length + 1 : begin + 1].mean()
    for row in range(begin + 1, len(x)):
        result[row] = result[row - 1] + weight * (x[row] - result[row - 1])
    return result


def macd_reference(close: pd.Series) -> list[Any]:
    line = recursion(late(close), 12, 2, 13) - recursion(close, 26, 2, 27)
    signal = recursion(pd.Series(line), 9, 2, 10)
    return [line, signal, line - signal]


def vwap_reference(day: pd.DataFrame) -> Any:
    high, low, close, volume = (day[name].to_numpy() for name in ("high", "low", "close", "volume"))
    return np.cumsum((high + low + close) / 3 * volume) / np.cumsum(volume)


def rsi_reference(change: pd.Series) -> Any:
    gain, loss = (recursion(part, 14, 1, 14) for part in (change.clip(lower=0), -change.clip(upper=0)))
    return 100 * gain / (gain + loss)


def after_a_hole(frame: pd.DataFrame) -> None:
    holed = frame.copy()
    holed.iloc[len(frame) // 2] = np.nan
    after = len(frame) - len(frame) // 2 - 1
    show(
        f"One candle of NaN: rows of the {after:,} after it that are NaN",
        lambda who, name: str(int(pd.Series(candidates_[who][name](holed)[0]).iloc[-after:].isna().sum())),
    )


def forgetting(frame: pd.DataFrame) -> None:
    """Rows after the start until the value stays within a part of the price (or of 100) of that with all history."""
    print(
        "\nRows, from the first one loaded, until a later start no longer shows (worst of",
        STARTS,
        "starts)\n",
    )
    print("| | settled_rows | 1e-6 | 1e-9 | 1e-12 |\n|---|---:|---:|---:|---:|")
    for name in ("sma", "ema", "macd", "bollinger", "rsi", "atr"):
        one = INDICATORS[name]
        apart = np.max([apart_from(frame, one, begin) for begin in begins(len(frame))], axis=0)
        apart /= 100 if name == "rsi" else float(frame["close"].max())
        rows = [str(settled_after(apart, part)) for part in (1e-6, 1e-9, 1e-12)]
        print(f"| {name} | {one.settled_rows(Timeframe.M1)} | {' | '.join(rows)} |")


def begins(rows: int) -> Any:
    return np.linspace(rows // 4, rows - rows // 4, STARTS).astype(int)


def apart_from(frame: pd.DataFrame, one: Indicator, begin: int) -> Any:
    last = begin + len(frame) // 4
    full = compute_indicators(frame.iloc[:last], [one], timeframe="1m").iloc[begin:]
    late = compute_indicators(frame.iloc[begin:last], [one], timeframe="1m")
    return np.abs(full - late).max(axis=1, skipna=False).fillna(np.inf).to_numpy()


def settled_after(apart: Any, part: float) -> int | str:
    outside = np.flatnonzero(apart > part)
    if len(outside) and outside[-1] == len(apart) - 1:
        return "never"
    return int(outside[-1]) + 2 if len(outside) else 1


async def main() -> None:
    chosen = arguments("indicators of candles")
    frame = candles(chosen.rows)[["open", "high", "low", "close", "volume"]]
    frame.index = frame.index.tz_localize("UTC") if frame.index.tz is None else frame.index
    await speed(frame, chosen.runs)
    exactness(frame, "Largest difference from the formula in extended precision, as a part of the price")
    small = frame.copy()
    small[["open", "high", "low", "close"]] *= 1e-10
    exactness(small, "The same at prices of 1e-6")
    after_a_hole(frame)
    forgetting(frame)


if __name__ == "__main__":
    candidates_ = candidates()
    asyncio.run(main())
