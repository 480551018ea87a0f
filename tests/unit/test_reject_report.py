"""One line a burst, every record counted, and nothing of what a record says."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from datalayer.repositories.reject_report import RejectReporter
from datalayer.repositories.reject_rows import RejectKey

TRADES = RejectKey("binance", "trade", "positive_size")
CANDLES = RejectKey("binance", "candle", "on_grid")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage().partition(";")[0] for record in caplog.records]
    caplog.clear()
    return found


def test_the_first_is_logged_at_once_and_the_rest_of_the_burst_together(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    reporter = RejectReporter(burst_s=60, clock=clock)
    reporter.report(Counter({TRADES: 2}))
    assert lines(caplog) == ["2 trade from binance rejected by the rule positive_size"]
    for _ in range(59):
        clock.now += 1
        reporter.report(Counter({TRADES: 3}))
    assert lines(caplog) == []
    clock.now += 1
    reporter.report(Counter({TRADES: 1, CANDLES: 1}))
    assert lines(caplog) == [
        "178 trade from binance rejected by the rule positive_size in the last 60 s",
        "1 candle from binance rejected by the rule on_grid",
    ]


def test_what_waits_is_logged_with_whatever_comes_next_or_by_flush(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    reporter = RejectReporter(burst_s=60, clock=clock)
    reporter.report(Counter({TRADES: 1}))
    reporter.report(Counter({TRADES: 4}))
    clock.now += 100
    reporter.report(Counter({CANDLES: 1}))
    assert lines(caplog)[1:] == [
        "4 trade from binance rejected by the rule positive_size in the last 100 s",
        "1 candle from binance rejected by the rule on_grid",
    ]
    reporter.report(Counter({TRADES: 5}))
    reporter.flush()
    assert lines(caplog) == ["5 trade from binance rejected by the rule positive_size in the last 0 s"]
    reporter.flush()
    assert lines(caplog) == []


def test_every_record_is_counted_logged_or_not(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    counted: Counter[RejectKey] = Counter()

    def count(key: RejectKey, number: int) -> None:
        counted[key] += number

    reporter = RejectReporter(count, clock=clock)
    for _ in range(3):
        reporter.report(Counter({TRADES: 2, CANDLES: 1}))
    assert counted == {TRADES: 6, CANDLES: 3}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
