"""The real market data through the validator, as they were recorded."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer.domain.instrument import Instrument
from datalayer.domain.steps import from_steps, to_steps
from datalayer.domain.validation import DataValidator, Notice, Rule
from datalayer.integrations.binance.daily_files import parse_daily_klines
from datalayer.integrations.binance.klines import Kline
from datalayer.integrations.binance.messages import (
    parse_capture_line,
    parse_message,
)
from datalayer.integrations.depth import DepthDiff, DepthSnapshot
from datalayer.integrations.fields import E8, TIME_MS_LIMIT
from tests.market_files import SHARED_DATA, market_file, market_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = "20240808-09"
PACKED = sorted(str(path.relative_to(SHARED_DATA)) for path in SHARED_DATA.glob("*/*.gz"))


def validator(symbol: str = "BTC/USDT", price_scale: int = 2, size_scale: int = 6) -> DataValidator:
    return DataValidator(Instrument(1, symbol, price_scale, size_scale))


def unpacked(name: str) -> bytes:
    return gzip.decompress(market_file(name).read_bytes())


def daily(day: str) -> bytes:
    return unpacked(f"vision_daily_csv/BTCUSDT-1m-{day}.csv.gz")


def test_the_one_candle_of_2018_with_three_decimals_is_set_aside_and_nothing_else() -> None:
    frame = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet")
    result = validator().validate_candles(frame, "1m")

    (rejected,) = result.rejected
    assert (rejected.rule, rejected.field, rejected.value) == (Rule.REPRESENTABLE, "open", 4000.151)
    assert rejected.ts == datetime(2018, 12, 4, 14, 13, tzinfo=UTC)
    assert rejected.record["low"] == 3998.031
    pd.testing.assert_frame_equal(
        result.accepted, frame.drop(index=frame.index[rejected.row]), check_exact=True
    )
    # With the scale that it needs, the year goes in whole: outages are no fault of the rows that are there.
    widened = validator(price_scale=3).validate_candles(frame, "1m")
    assert widened.is_clean
    pd.testing.assert_frame_equal(widened.accepted, frame, check_exact=True)


def test_the_121_volumes_of_2024_with_six_decimals_need_a_scale_of_six() -> None:
    frame = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet")
    whole, narrow = (validator(size_scale=scale).validate_candles(frame, "1m") for scale in (6, 5))

    assert whole.is_clean
    assert whole.warnings == ()
    pd.testing.assert_frame_equal(whole.accepted, frame, check_exact=True)
    assert narrow.rejected.counts() == {Rule.REPRESENTABLE: 121}
    assert {r.field for r in narrow.rejected} == {"volume"}


def test_a_year_in_any_order_is_the_same_year() -> None:
    frame = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet")
    twice = pd.concat([frame.sample(frac=1, random_state=1), frame.iloc[::-1]])
    result = validator().validate_candles(twice, "1m")

    pd.testing.assert_frame_equal(result.accepted, frame, check_exact=True)
    assert result.is_clean
    assert result.warning_counts()[Notice.DUPLICATE] == len(frame)
    assert result.warning_counts()[Notice.DISORDER] > len(frame)


def test_seconds_whose_volume_was_added_up_in_floats_are_set_aside() -> None:
    frame = market_frame(f"ohlcv/binance_spot_BTCUSDT_1s_derived_from_trades_{DAYS}.parquet")
    result = validator().validate_candles(frame, "1s")

    assert {(r.rule, r.field) for r in result.rejected} == {(Rule.REPRESENTABLE, "volume")}
    assert 0 < len(result.accepted) < len(frame)
    assert validator().validate_candles(frame.assign(volume=frame["volume"].round(6)), "1s").is_clean


@pytest.mark.parametrize(("symbol", "spelling"), [("BTC/USDT", "BTCUSDT"), ("ETH/USDT", "ETHUSDT")])
def test_trades_that_differ_in_nothing_but_their_id_are_all_kept(symbol: str, spelling: str) -> None:
    frame = market_frame(f"trades/binance_spot_{spelling}_{DAYS}.parquet")
    frame = frame.assign(side=frame["side"].map({"buy": 1, "sell": -1}))
    result = validator(symbol, 2, 5).validate_trades(frame)

    assert result.is_clean
    assert result.accepted_rows.tolist() == list(range(len(frame)))
    assert result.accepted["trade_id"].tolist() == frame["trade_id"].tolist()
    for name in ("price", "size"):
        assert result.accepted[name].to_numpy().tobytes() == frame[name].to_numpy().tobytes()
    if spelling == "BTCUSDT":
        assert len(frame) == 19_904
        assert frame.index.duplicated(keep=False).sum() >= 12_796
    # Without their ids, those that repeat another's time can only be told apart as contradictions, or not at all.
    same_id = validator(symbol, 2, 5).validate_trades(frame.assign(trade_id=0))
    assert len(same_id.accepted) == frame.index.nunique()
    assert len(same_id.rejected) + len(same_id.dropped_rows) == len(frame) - frame.index.nunique()


def test_trades_without_an_id_are_set_aside() -> None:
    frame = market_frame("trades/questdb_coinbase_BTC-USD_trades_20230905.parquet")
    sided = frame.assign(side=frame["side"].map({"buy": 1, "sell": -1}))
    result = validator("BTC/USD", 2, 8).validate_trades(sided)

    assert result.rejected.counts() == {Rule.PRESENT: 5_882}
    assert {r.field for r in result.rejected} == {"trade_id"}
    assert validator("BTC/USD", 2, 8).validate_trades(sided.assign(trade_id=np.arange(len(frame)))).is_clean


def test_trades_that_seem_to_come_from_the_future_by_a_slow_clock_are_accepted() -> None:
    frame = market_frame(f"trades/binance_spot_BTCUSDT_{DAYS}.parquet").iloc[:50]
    for ts, trade in frame.iterrows():
        record = {
            "ts": ts,
            "trade_id": trade["trade_id"],
            "price": trade["price"],
            "size": trade["size"],
            "side": 0,
        }
        assert trade["recv_time"] < ts
        assert validator().validate_trade(record, now=trade["recv_time"].floor("us").to_pydatetime()).is_clean


@pytest.mark.parametrize(("symbol", "spelling"), [("BTC/USDT", "BTCUSDT"), ("ETH/USDT", "ETHUSDT")])
def test_books_rebuilt_from_the_captures_are_clean(symbol: str, spelling: str) -> None:
    frame = market_frame(f"orderbook/binance_spot_{spelling}_top20_500ms_{DAYS}.parquet")
    result = validator(symbol, 2, 5).validate_order_books(
        frame.rename(columns={"update_id": "last_update_id"})
    )

    assert result.is_clean
    assert result.warnings == ()
    assert result.accepted.last_update_ids.tolist() == frame["update_id"].tolist()
    for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"):
        np.testing.assert_array_equal(getattr(result.accepted, name), np.stack(frame[name].to_list()))


def levels(name: str, pairs: Any, *, falling: bool) -> dict[str, list[float]]:
    ordered = sorted(pairs, reverse=falling)
    return {f"{name}_prices": [p / E8 for p, _ in ordered], f"{name}_sizes": [s / E8 for _, s in ordered]}


def depth_messages() -> Iterator[DepthDiff | DepthSnapshot]:
    for line in unpacked("captures/spot_btcusdt_20240808.gz").splitlines():
        message = parse_capture_line(line).message
        if isinstance(message, DepthDiff | DepthSnapshot):
            yield message


def test_the_levels_of_size_zero_in_the_capture_are_left_out_and_counted() -> None:
    diffs = [message for message in depth_messages() if isinstance(message, DepthDiff)]
    records = [
        levels("bid", diff.bids, falling=True)
        | levels("ask", diff.asks, falling=False)
        | {"ts": datetime.fromtimestamp(diff.event_time_us / 1e6, UTC), "last_update_id": diff.last_update_id}
        for diff in diffs
    ]
    result = validator().validate_order_books(records)

    zero = sum(size == 0 for diff in diffs for _, size in diff.bids + diff.asks)
    assert zero > 10_000
    assert result.is_clean
    assert result.warning_counts()[Notice.ZERO_SIZE_LEVELS] == zero
    kept = int(result.accepted.bid_counts.sum() + result.accepted.ask_counts.sum())
    assert kept == sum(len(diff.bids) + len(diff.asks) for diff in diffs) - zero
    assert (result.accepted.bid_sizes[~np.isnan(result.accepted.bid_sizes)] > 0).all()


def test_the_rest_snapshot_of_the_capture_is_clean() -> None:
    (snapshot,) = (message for message in depth_messages() if isinstance(message, DepthSnapshot))
    record = {"ts": datetime(2024, 8, 8, 23, 54, 15, tzinfo=UTC), "last_update_id": snapshot.last_update_id}
    record |= levels("bid", snapshot.bids, falling=True) | levels("ask", snapshot.asks, falling=False)
    result = validator(size_scale=5).validate_order_book(record)

    assert result.is_clean
    assert result.warnings == ()
    assert [p / E8 for p, _ in snapshot.bids] == result.accepted.bid_prices[0].tolist()


@pytest.mark.parametrize("day", ["2018-02-08", "2018-02-09", "2024-08-08", "2024-08-09"])
def test_daily_files_are_the_candles_of_the_yearly_ones(day: str) -> None:
    result = validator().validate_candles(parse_daily_klines(daily(day)), "1m")
    year = market_frame(f"ohlcv/binance_spot_BTCUSDT_1m_{day[:4]}.parquet")

    assert result.is_clean
    assert len(result.accepted) == {"2018-02-08": 29, "2018-02-09": 840}.get(day, 1440)
    expected = year.loc[day].loc[result.accepted.index]
    pd.testing.assert_frame_equal(result.accepted.drop(columns="trade_count"), expected, check_exact=True)


def test_days_before_and_after_the_change_to_microseconds_follow_each_other() -> None:
    days = [parse_daily_klines(daily(day)) for day in ("2024-12-31", "2025-01-01")]
    result = validator().validate_candles(pd.concat(days), "1m")

    assert result.is_clean
    assert result.warnings == ()
    assert result.accepted.index.tolist() == list(
        pd.date_range("2024-12-31", periods=2880, freq="1min", tz="UTC")
    )


@pytest.mark.parametrize(
    ("day", "wrong_unit", "rule"),
    [("2025-01-01", "ms", Rule.NOT_IN_FUTURE), ("2024-12-31", "us", Rule.PLAUSIBLE_TIME)],
)
def test_a_day_read_in_the_wrong_unit_is_refused_row_by_row(day: str, wrong_unit: str, rule: Rule) -> None:
    frame = parse_daily_klines(daily(day))
    first = int(daily(day).partition(b",")[0])
    assert (first >= TIME_MS_LIMIT) == (wrong_unit == "ms")
    numbers = frame.index.asi8 // (1 if wrong_unit == "ms" else 1_000)  # type: ignore[attr-defined]
    misread = pd.DatetimeIndex(numbers.astype(f"datetime64[{wrong_unit}]")).tz_localize("UTC")
    result = validator().validate_candles(frame.set_axis(misread), "1m")

    assert result.rejected.counts() == {rule: 1440}
    assert len(result.accepted) == 0


def klines() -> list[Kline]:
    lines = unpacked("messages/cryptofeed_binance_kline_1m_messages.jsonl.gz").splitlines()
    parsed = [parse_message(json.dumps(json.loads(line)["msg"])) for line in lines]
    return [message for message in parsed if isinstance(message, Kline)]


def pair(joined: str) -> str:
    """As the exchange's own list of markets has it; the joined spelling alone does not say."""
    found = re.fullmatch(r"(.+?)(USDT|BUSD|BTC|BRL|USD_[A-Z0-9]+)", joined)
    assert found, joined
    return f"{found[1]}/{found[2]}"


def test_forming_and_silent_klines_become_one_candle_each() -> None:
    messages = klines()
    assert len(messages) == 115
    assert sum(not message.is_closed for message in messages) == 106
    silent = [message for message in messages if message.trade_count == 0]
    assert len(silent) == 6

    accepted = dropped = 0
    for symbol in {message.symbol for message in messages}:
        own = [message for message in messages if message.symbol == symbol]
        result = validator(pair(symbol), 8, 8).validate_candles([m.record() for m in own], "1m")
        last = {m.open_time_us: m for m in own}

        assert result.is_clean
        assert set(result.warning_counts()) <= {Notice.REVISION, Notice.DUPLICATE}
        assert result.accepted.index.tolist() == [
            pd.Timestamp(us, unit="us", tz="UTC") for us in sorted(last)
        ]
        for (_, candle), ms in zip(result.accepted.iterrows(), sorted(last), strict=True):
            assert candle["close"] == last[ms].close_e8 / E8
            assert candle["volume"] == last[ms].volume_e8 / E8
            assert candle["trade_count"] == last[ms].trade_count
        accepted += len(result.accepted)
        dropped += len(result.dropped_rows)
    assert accepted + dropped == 115
    assert dropped > 0


def test_silent_klines_are_accepted_each_by_itself() -> None:
    for message in klines():
        if message.trade_count == 0:
            own = validator(pair(message.symbol), 8, 8)
            result = own.validate_candle(message.record(), now=datetime.now(UTC) - timedelta(seconds=1))
            assert result.is_clean
            assert result.accepted["volume"].tolist() == [0.0]


@pytest.mark.skipif(not PACKED, reason="the real market data are not beside this checkout")
@pytest.mark.parametrize("name", PACKED)
def test_every_price_and_size_that_is_written_in_the_raw_files_is_exact(name: str) -> None:
    """Captures, messages and daily files; the Parquet files are in test_steps.py."""
    texts = sorted({text.decode() for text in re.findall(rb"[0-9]+\.[0-9]{8}(?![0-9])", unpacked(name))})
    assert texts
    from_texts = to_steps(np.array(texts, dtype=object), 8, field="text")
    floats = np.array([float(text) for text in texts])

    np.testing.assert_array_equal(to_steps(floats, 8, field="float"), from_texts)
    assert from_steps(from_texts, 8).tobytes() == floats.tobytes()
    assert [f"{value:.8f}" for value in from_steps(from_texts, 8, "decimal")] == texts
