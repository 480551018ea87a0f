"""`datalayer candles|trades|book|inference|coverage`: what they print and write, their errors and exit codes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from datalayer import InferenceDataFrame, OrderBookDataFrame, Timeframe, UnitOfWork
from datalayer.cli import app
from datalayer.domain.feed_gap import FeedGap
from datalayer.errors import InvalidInputError, NoDataError
from tests.integration.provider.feeding import SECOND, START, store, trade

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings

SECONDS = 200  # 10:00:00 to 10:03:20
AT = "2024-08-08T10:02:30Z"
FROM_TO = ("--start", "2024-08-08T10:00Z", "--end", "2024-08-08T10:04Z")
MISSING = 3

COMMANDS = [
    ["candles", "BTC/USDT", "1s", "--limit", "50"],
    ["trades", "BTC/USDT", "--limit", "50"],
    ["book", "BTC/USDT", "--at", AT],
    ["book", "BTC/USDT", "--at", AT, "--limit", "20"],
    ["inference", "BTC/USDT", "--at", AT],
    ["coverage", "BTC/USDT", "1s"],
    ["coverage", "BTC/USDT"],
]


@pytest.fixture
async def filled(engine: AsyncEngine) -> None:
    await store(engine, range(SECONDS))
    async with UnitOfWork(engine) as uow:  # ADA/USDT has a trade and no candles, XRP/USDT nothing at all
        for symbol in ("ADA/USDT", "XRP/USDT"):
            await uow.instruments.ensure(symbol, 2, 5)
        frame = pd.DataFrame([trade(0)]).set_index("ts")
        await uow.trades.insert_trades("ADA/USDT", frame)
        await uow.commit()


@pytest.fixture
def environment(filled: None, settings: Settings) -> dict[str, str]:
    del filled
    url = settings.require_url().render_as_string(hide_password=False)
    return {"DATALAYER_DATABASE_URL": url, "DATALAYER_DATABASE_SCHEMA": settings.database_schema}


def call(environment: dict[str, str], *arguments: str, exit_code: int = 0) -> str:
    result = CliRunner(env=environment).invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


async def test_holes_of_feeds_are_listed(engine: AsyncEngine, environment: dict[str, str]) -> None:
    gap = FeedGap("BTC/USDT", "trades", None, START, START + SECOND, "binance", "reconnect", 7, 11, 17)
    async with UnitOfWork(engine) as uow:
        await uow.feed_gaps.record(gap)
        await uow.commit()
    for arguments in ((), ("1s", *FROM_TO)):
        code = MISSING if arguments else 0
        shown = await asyncio.to_thread(call, environment, "coverage", "BTC/USDT", *arguments, exit_code=code)
        assert [
            "trades",
            "-",
            "2024-08-08",
            "10:00:00",
            "2024-08-08",
            "10:00:01",
            "7",
            "0",
            "open",
            "reconnect",
        ] in rows(shown)


def test_tables(environment: dict[str, str]) -> None:
    printed = rows(call(environment, "candles", "btcusdt", "--limit", "2", "--as-of", AT))
    assert [row[:3] for row in printed] == [
        ["2024-08-08", "10:00:00", "60,000"],
        ["2024-08-08", "10:01:00", "60,060"],
    ]
    assert {row[-2] for row in printed} == {"closed"}
    forming = call(
        environment, "candles", "BTC/USDT", "5m", "--limit", "1", "--as-of", AT, "--forming"
    ).split()
    assert "forming" in forming
    assert len(rows(call(environment, "candles", "BTC/USDT", "1s"))) == 20
    assert len(rows(call(environment, "candles", "BTC/USDT", "1s", *FROM_TO))) == SECONDS

    (trade,) = rows(call(environment, "trades", "BTC-USDT", "--limit", "1"))
    assert trade == ["2024-08-08", "10:03:19", "199", "60,199", "0.5", "buy"]

    shown = call(environment, "book", "BTC/USDT", "--at", AT, "--levels", "1")
    assert "10:02:30 UTC" in shown
    assert ["1", "1", "60,150", "60,151", "1", "1"] in rows(shown)
    assert (
        len(rows(call(environment, "book", "BTC/USDT", "--at", AT, "--aggregation", "1m", "--limit", "5")))
        == 2
    )


def test_inference_tells_what_a_model_would_be_given(environment: dict[str, str]) -> None:
    shown = call(
        environment, "inference", "BTC/USDT", "--at", AT, "-t", "1m", "-t", "1s", "-i", "ema:2", "-i", "obv"
    )
    assert "BTC/USDT at 2024-08-08 10:02:30 UTC" in shown
    assert [line.split()[0] for line in shown.splitlines()[3:5]] == ["1m", "1s"]
    assert "ema_2  " in shown
    assert "order book, 0 s old: bid 60,150, ask 60,151, spread 1" in shown
    assert "context before: 150 x 1s, 2 x 1m" in shown or "context before: 2 x 1m, 150 x 1s" in shown
    assert "+0.5000" in shown


def test_coverage_ends_with_3_where_candles_are_missing(environment: dict[str, str]) -> None:
    stored = call(environment, "coverage", "BTC/USDT")
    assert ["candles", "1s", "2024-08-08", "10:00:00", "2024-08-08", "10:03:19", "200"] in rows(stored)
    assert rows(call(environment, "coverage", "BTC/USDT", "1s"))[0][-4:] == ["200", "200", "0", "0"]
    told = call(environment, "coverage", "BTC/USDT", "1s", *FROM_TO, exit_code=MISSING)
    assert ["2024-08-08", "10:03:20", "2024-08-08", "10:04:00", "40"] in rows(told)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_json_parquet_and_pictures(environment: dict[str, str], tmp_path: Path, command: list[str]) -> None:
    told: Any = json.loads(call(environment, *command, "--json"))
    parquet, plot = tmp_path / "a.parquet", tmp_path / "a.png"
    assert call(environment, *command, "--parquet", str(parquet), "--plot", str(plot)) == ""
    picture = imread(plot)
    assert picture.shape[:2] == (750, 1500)
    assert picture[100:-100, 100:-100, :3].std() > 0.02
    if command[0] == "inference":
        frame = InferenceDataFrame.from_parquet(parquet.read_bytes())
        assert frame == InferenceDataFrame.from_dict(told)
        assert len(frame.candles[Timeframe.S1]) == 100
    elif command[0] == "book":
        books = [OrderBookDataFrame.from_dict(one) for one in (told if isinstance(told, list) else [told])]
        levels = pd.read_parquet(parquet)
        assert list(levels) == ["timestamp", "side", "level", "price", "size", "cumulative_size"]
        best = levels[(levels["side"] == "bid") & (levels["level"] == 0)]
        assert best["price"].tolist() == [book.best_bid for book in books]
    else:
        (name,) = (key for key, value in told.items() if isinstance(value, list) and key != "feed_gaps")
        flat = pd.read_parquet(parquet).reset_index()
        assert list(told[name][0]) == list(flat)
        assert len(told[name]) == len(flat)
        assert pq.read_schema(parquet).metadata[b"symbol"] == told["symbol"].encode()
        if name in {"candles", "trades"}:
            value = "close" if name == "candles" else "price"
            assert [row[value] for row in told[name]] == flat[value].tolist()
            times = pd.DatetimeIndex([row["timestamp"] for row in told[name]])
            assert np.array_equal(times, pd.DatetimeIndex(flat["timestamp"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trades", "BTC/USD"], "did you mean BTC/USDT"),
        (["candles", "ETH/USDT"], "registered are: ADA/USDT, BTC/USDT, XRP/USDT"),
        (["candles", "BTC/USDT", "2m"], "use one of 1s, 1m, 5m, 15m, 1h, 4h, 1d"),
        (["inference", "BTC/USDT", "-t", "1w"], "use one of 1s, 1m"),
        (["trades", "BTC/USDT", "--start", "2024-08-08"], "as in 2024-08-08T00:00:00+00:00"),
        (["book", "BTC/USDT", "--at", "noon"], "as in 2024-08-08T10:00Z"),
        (["coverage", "BTC/USDT", "--start", "2024-08-08T00:00Z"], "name it, as in 1m"),
        (["coverage", "ADA/USDT", "1m"], "no candles are stored to take the range from"),
        (["coverage", "ADA/USDT", "--plot", "a.png"], "nothing to draw"),
        (
            ["inference", "BTC/USDT", "--at", "2024-08-08T10:00:30Z", "-t", "1d", "--plot", "/nowhere/a.png"],
            "cannot be written",
        ),
        (["inference", "BTC/USDT", "-i", "mcad"], "use atr, bollinger, ema, macd"),
        (["inference", "BTC/USDT", "-i", "ema:a"], "give its numbers in their order"),
        (["inference", "BTC/USDT", "-i", "rsi:1,2"], "give its numbers in their order"),
        (
            ["trades", "BTC/USDT", "--parquet", "/nowhere/a.parquet"],
            "parquet='/nowhere/a.parquet': cannot be written: there is no folder /nowhere, or you may not write in it",
        ),
        (["trades", "BTC/USDT", "--plot", "/"], "plot='/': cannot be written: Is a directory"),
    ],
)
def test_errors_say_what_to_do(environment: dict[str, str], arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        call(environment, *arguments)
    assert message in str(caught.value)


def test_a_range_without_data_says_what_is_stored(environment: dict[str, str]) -> None:
    for command in ("candles", "trades"):
        with pytest.raises(NoDataError, match="stored: candles 1s 2024-08-08T10:00:00"):
            call(
                environment, command, "BTC/USDT", "--start", "2023-01-01T00:00Z", "--end", "2023-01-02T00:00Z"
            )


def test_a_symbol_without_data_is_told(environment: dict[str, str]) -> None:
    with pytest.raises(NoDataError, match="XRP/USDT has no data; stored: nothing at all"):
        call(environment, "coverage", "XRP/USDT")


def test_the_shell_gets_one_sentence_and_an_exit_code(environment: dict[str, str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        command = [Path(sys.executable).parent / "datalayer", *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    code, printed, error = run(
        "trades", "BTC/USDT", "--start", "2023-01-01T00:00Z", "--end", "2023-01-02T00:00Z"
    )
    assert (code, printed, error.count("\n")) == (3, "", 1)
    assert error.startswith("error: BTC/USDT has no trades from 2023-01-01")
    code, printed, error = run("trades", "BTC/USD")
    assert (code, printed, error.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("command", ["candles", "trades", "book", "inference", "coverage"])
def test_help_names_the_exit_codes_and_every_option(command: str) -> None:
    shown = call({"COLUMNS": "200"}, command, "--help")
    assert "Exit codes: 0 done, 1 error, 2 wrong usage, 3" in shown
    assert all(option in shown for option in ("--json", "--parquet", "--plot"))
    call({}, command, exit_code=2)
