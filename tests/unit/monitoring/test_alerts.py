"""Every alert fires when it should, and not otherwise, as Prometheus itself evaluates it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.promtool import needs_promtool, rules, run_rule_tests, selector

if TYPE_CHECKING:
    from pathlib import Path

# Values a minute apart, in promtool's notation: `first+step x times`.
Series = dict[str, str]
GiB = 2**30


@dataclass
class Case:
    """An alert, what makes it fire by `at`, and what does not, near to it."""

    alert: str
    firing: Series
    quiet: Series
    labels: dict[str, str] = field(default_factory=dict)
    at: str = "30m"


def histogram(name: str, kind: str, fast: str, slow: str, *, below: float, above: float) -> Series:
    """A histogram of two buckets around a target."""
    total = "+Inf"
    return {
        f'{name}_bucket{{kind="{kind}", le="{below}"}}': fast,
        f'{name}_bucket{{kind="{kind}", le="{above}"}}': slow,
        f'{name}_bucket{{kind="{kind}", le="{total}"}}': slow,
    }


def latency(alert: str, name: str, kind: str, *, below: float, above: float) -> Case:
    return Case(
        alert,
        histogram(name, kind, "0+50x60", "0+100x60", below=below, above=above),
        histogram(name, kind, "0+100x60", "0+100x60", below=below, above=above),
        {"kind": kind},
    )


def gauge(alert: str, name: str, labels: dict[str, str], bad: float, good: float, **options: Any) -> Case:
    return Case(
        alert,
        {selector(name, labels): f"{bad}x3000"},
        {selector(name, labels): f"{good}x3000"},
        labels,
        **options,
    )


RELATION = {"relation": "trades"}
JOB = {"policy": "compression", "relation": "candles"}
BTC = {"symbol": "BTC/USDT", "kind": "candles", "timeframe": "1h"}
NEWEST, INTERVAL = "datalayer_series_newest_timestamp_seconds", "datalayer_series_interval_seconds"
FREE, DISK = 'datalayer_disk_free_bytes{folder="data"}', 'datalayer_disk_size_bytes{folder="data"}'
BUFFERED = 'datalayer_ingestion_buffered_events{kind="trade"}'
STORED = 'datalayer_ingestion_stored_total{kind="trade", outcome="inserted"}'
ACCEPTED = 'datalayer_ingestion_accepted_total{kind="candle", instance="one"}'
OTHER = 'datalayer_ingestion_accepted_total{kind="candle", instance="other"}'
REJECTED = 'datalayer_ingestion_rejected_total{kind="trade", rule="positive_price"}'
RETRIES = 'datalayer_ingestion_retries_total{kind="trade", reason="no_answer"}'
SAVED, BEFORE = "datalayer_relation_compression_saved_ratio", "datalayer_relation_compression_before_bytes"

CASES = [
    latency(
        "DatalayerCacheReadsSlow", "datalayer_cache_read_duration_seconds", "ohlcv", below=0.01, above=0.05
    ),
    latency("DatalayerQueriesSlow", "datalayer_query_duration_seconds", "ohlcv", below=0.1, above=0.25),
    # A coverage query over years is no typical query.
    Case(
        "DatalayerQueriesSlow",
        histogram("datalayer_query_duration_seconds", "trades", "0+1x60", "0+9x60", below=0.1, above=0.25),
        histogram("datalayer_query_duration_seconds", "coverage", "0+1x60", "0+9x60", below=0.1, above=0.25),
        {"kind": "trades"},
    ),
    latency("DatalayerEventsLate", "datalayer_ingestion_age_seconds", "trade", below=10.0, above=30.0),
    gauge("DatalayerServiceDown", "up", {"job": "datalayer-ingest"}, 0, 1),
    Case(
        "DatalayerIngestStalled",
        {ACCEPTED: "500x60", OTHER: "0+1x60"},
        {ACCEPTED: "0+1x60"},
        {"instance": "one"},
    ),
    gauge("DatalayerFeedDown", "datalayer_feed_connections", {"exchange": "binance", "state": "down"}, 1, 0),
    gauge("DatalayerFeedDown", "datalayer_feed_invalid_books", {"exchange": "coinbase"}, 2, 0),
    Case(
        "DatalayerWritesStalled",
        {BUFFERED: "5x60", STORED: "100x60"},
        {BUFFERED: "5x60", STORED: "0+10x60"},
        {"kind": "trade"},
    ),
    Case(
        "DatalayerWritesStalled",
        {BUFFERED: "5x60", STORED: "7x60"},
        {BUFFERED: "0x60", STORED: "7x60"},
        {"kind": "trade"},
    ),
    Case(
        "DatalayerRetries", {RETRIES: "0+2x60"}, {RETRIES: "3x60"}, {"kind": "trade", "reason": "no_answer"}
    ),
    Case(
        "DatalayerRejectBurst",
        {REJECTED: "0+50x60"},
        {REJECTED: "0+5x60"},
        {"kind": "trade", "rule": "positive_price"},
    ),
    Case(
        "DatalayerOutboxGrows",
        {"datalayer_outbox_size_bytes": f"{3 * GiB}x60", "datalayer_outbox_limit_bytes": f"{4 * GiB}x60"},
        {"datalayer_outbox_size_bytes": f"{GiB}x60", "datalayer_outbox_limit_bytes": f"{4 * GiB}x60"},
    ),
    Case(
        "DatalayerOutboxGrows",  # full within two hours; the other grows as slowly as a log does
        {"datalayer_outbox_size_bytes": f"0+{GiB // 60}x60", "datalayer_outbox_limit_bytes": f"{4 * GiB}x60"},
        {
            "datalayer_outbox_size_bytes": f"0+{GiB // 6000}x60",
            "datalayer_outbox_limit_bytes": f"{4 * GiB}x60",
        },
        at="55m",
    ),
    gauge("DatalayerOutboxFull", "datalayer_outbox_full", {}, 1, 0),
    gauge("DatalayerPoolExhausted", "datalayer_pool_waiting_callers", {}, 2, 0),
    Case(  # the clock of a test begins at 0: at 3 h, an hour's candle that closed 10 minutes after the start is due at 1:15
        "DatalayerSeriesStale",
        {selector(NEWEST, BTC): "600x300", selector(INTERVAL, BTC): "3600x300"},
        {selector(NEWEST, BTC): "7200x300", selector(INTERVAL, BTC): "3600x300"},
        BTC,
        at="3h",
    ),
    Case(  # what ended more than a week ago is not expected to go on
        "DatalayerSeriesStale",
        {selector(NEWEST, BTC): "600x12000", selector(INTERVAL, BTC): "3600x12000"},
        {selector(NEWEST, BTC): "-604800x12000", selector(INTERVAL, BTC): "3600x12000"},
        BTC,
        at="2h",
    ),
    gauge("DatalayerCandlesMissing", "datalayer_series_missing_candles", BTC, 2, 0, at="40m"),
    gauge("DatalayerAggregatesBehind", "datalayer_dirty_oldest_age_seconds", {}, 4000, 3000),
    gauge("DatalayerDatabaseDown", "datalayer_database_up", {}, 0, 1),
    gauge("DatalayerDatabaseReadOnly", "datalayer_database_read_only", {}, 1, 0),
    gauge("DatalayerSchemaBehind", "datalayer_schema_current", {}, 0, 1),
    gauge("DatalayerJobFailed", "datalayer_job_last_run_failed", JOB, 1, 0),
    gauge("DatalayerJobLate", "datalayer_job_lag_seconds", JOB, 1000, 800),
    gauge("DatalayerCompressionDue", "datalayer_relation_compression_due_chunks", RELATION, 1, 0, at="25h"),
    Case(
        "DatalayerCompressionPoor",
        {selector(SAVED, RELATION): "0.79x120", selector(BEFORE, RELATION): f"{GiB}x120"},
        {selector(SAVED, RELATION): "0.81x120", selector(BEFORE, RELATION): f"{GiB}x120"},
        RELATION,
        at="90m",
    ),
    Case(  # of a few rows the share says nothing
        "DatalayerCompressionPoor",
        {selector(SAVED, RELATION): "0.5x120", selector(BEFORE, RELATION): f"{GiB}x120"},
        {selector(SAVED, RELATION): "0.5x120", selector(BEFORE, RELATION): "40000x120"},
        RELATION,
        at="90m",
    ),
    gauge("DatalayerRetentionStuck", "datalayer_retention_due_chunks", RELATION, 3, 0, at="7h"),
    Case(
        "DatalayerDiskFilling",
        {FREE: f"{15 * GiB}x60", DISK: f"{100 * GiB}x60"},
        {FREE: f"{30 * GiB}x60", DISK: f"{100 * GiB}x60"},
        {"folder": "data"},
        at="45m",
    ),
    Case(  # a third of the disk a day
        "DatalayerDiskFilling",
        {FREE: f"{60 * GiB}-{GiB // 40}x600", DISK: f"{100 * GiB}x600"},
        {FREE: f"{60 * GiB}-{GiB // 4000}x600", DISK: f"{100 * GiB}x600"},
        {"folder": "data"},
        at="8h",
    ),
    Case(
        "DatalayerDiskFull",
        {FREE: f"{9 * GiB}x60", DISK: f"{100 * GiB}x60"},
        {FREE: f"{11 * GiB}x60", DISK: f"{100 * GiB}x60"},
        {"folder": "data"},
    ),
]


def test_every_alert_is_tried() -> None:
    assert {case.alert for case in CASES} == {rule["alert"] for rule in rules()}


def test_every_alert_says_how_urgent_it_is_and_where_to_begin() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "action", "runbook_url"}


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    # Over hours, a look every ten minutes will do.
    for every, cases in (
        ("1m", [case for case in CASES if not case.at.endswith("h")]),
        ("10m", [case for case in CASES if case.at.endswith("h")]),
    ):
        tests = [_test(case, fires=fires) for case in cases for fires in (True, False)]
        assert run_rule_tests(tmp_path, tests, every) == ""


@needs_promtool
@pytest.mark.parametrize("fires", [True, False])
def test_the_test_can_fail(tmp_path: Path, fires: bool) -> None:
    case = next(case for case in CASES if case.alert == "DatalayerOutboxFull")
    wrong = _test(case, fires=fires)
    wrong["input_series"] = _test(case, fires=not fires)["input_series"]
    assert "FAILED" in run_rule_tests(tmp_path, [wrong])


def _test(case: Case, *, fires: bool) -> dict[str, Any]:
    (rule,) = [rule for rule in rules() if rule["alert"] == case.alert]
    expected = {
        "exp_labels": case.labels | rule["labels"],
        "exp_annotations": {
            name: re.sub(r"{{ \$labels\.(\w+) }}", lambda found: case.labels[found[1]], text)
            for name, text in rule["annotations"].items()
        },
    }
    series = case.firing if fires else case.quiet
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": [expected] if fires else []}
        ],
    }
