"""`datalayer monitor` in a terminal, and how it reads the metrics of a service."""

from __future__ import annotations

import asyncio
import io
import math
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from rich.console import Console

from datalayer.cli.monitor import Service, screen
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import InvalidInputError
from datalayer.monitoring import DatabaseWatch
from datalayer.monitoring.endpoint import Reading, quantile, rate, read_endpoint
from datalayer.monitoring.metrics import serve_metrics
from tests.monitored import monitored, work
from tests.own_cluster import free_port
from tests.shell import shell_on

if TYPE_CHECKING:
    from pathlib import Path

    from datalayer.config import Settings

COMMAND = [sys.executable, "-c", "from datalayer.cli import main; main()", "monitor", "--every", "0.5"]
COLUMNS = 80
HOME = re.compile(r"\x1b\[H")
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def test_rates_and_quantiles_are_those_between_two_readings() -> None:
    registry = CollectorRegistry()
    counter = Counter("events", "e", ["kind"], registry=registry)
    histogram = Histogram("took_seconds", "t", ["kind"], registry=registry, buckets=(0.1, 0.2, 0.4))
    with serve_metrics(registry, port=0) as address:
        for kind in ("a", "b"):
            counter.labels(kind).inc(100)
            histogram.labels(kind).observe(0.05)
        before = read_endpoint(address)
        counter.labels("a").inc(30)
        for _ in range(4):
            histogram.labels("a").observe(0.15)
            histogram.labels("a").observe(0.3)
        after = read_endpoint(address)
    assert after.total("events_total") == 230
    assert after.by_label("events_total", "kind") == {"a": 130, "b": 100}
    assert rate(before, after, "events_total", kind="a") == pytest.approx(30 / (after.at - before.at))
    # Four in (0.1, 0.2], four in (0.2, 0.4]: the median is the end of the former, three quarters the middle of the latter.
    assert quantile(before, after, "took_seconds", 0.5, kind="a") == pytest.approx(0.2)
    assert quantile(before, after, "took_seconds", 0.75, kind="a") == pytest.approx(0.3)
    assert math.isnan(quantile(before, after, "took_seconds", 0.5, kind="b"))


def test_after_a_restart_a_rate_counts_from_nothing() -> None:
    key = ("events_total", frozenset[tuple[str, str]]())
    before, after = Reading(0.0, {key: 100.0}), Reading(2.0, {key: 6.0})
    assert rate(before, after, "events_total") == 3.0


def test_an_address_that_is_none() -> None:
    with pytest.raises(InvalidInputError, match=r"http://127\.0\.0\.1:9464/metrics"):
        read_endpoint("/etc/passwd")


async def test_something_else_that_answers_there() -> None:
    async with await asyncio.start_server(_answer_nonsense, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="these are no metrics"):
            await asyncio.to_thread(read_endpoint, f"http://127.0.0.1:{port}/metrics")


async def _answer_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"220 mail.example ESMTP\r\n")
    writer.close()


async def test_it_shows_database_and_service_in_80_columns(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        await work(service)
        shown = await asyncio.to_thread(_run, settings, service.address)
    lines = CODES.sub("", HOME.sub("\n", shown)).splitlines()
    assert [line for line in lines if len(line.rstrip()) > COLUMNS] == []
    text = "\n".join(lines)
    for part in (
        "BTC/USDT",
        "candles 1m",
        "gaps: BTC/USDT candles 1m misses 2",
        "order book",
        "cache hit rate",
    ):
        assert part in text, text


async def test_a_service_and_a_database_that_do_not_answer_are_said(settings: Settings) -> None:
    service = Service(f"http://127.0.0.1:{free_port()}/metrics")
    async with DatabaseConnectionManager(settings) as database:
        watch = DatabaseWatch(database, timeout_s=1e-6)
        await asyncio.gather(watch.look(), service.look())
    console = Console(width=COLUMNS, record=True, file=io.StringIO())
    console.print(screen(watch, service))
    first, *_, last = console.export_text().replace("\n", " ").split("does not answer: ")
    assert (first, last.strip() != "") == ("the database ", True)
    assert service.failure in last.replace("  ", " ")


def _run(settings: Settings, address: str) -> str:
    """Run the command in a terminal until it has drawn twice, and end it as Ctrl-C does."""
    ours, theirs = pty.openpty()
    shell = {name: value for name, value in shell_on(settings).env.items() if value}
    environment = {**os.environ, **shell, "COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm"}
    with subprocess.Popen(
        [*COMMAND, "--metrics", address], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
    ) as process:
        os.close(theirs)
        drawn, asked = b"", False
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65_536):
                drawn += part
                if drawn.count(b" a day") >= 2 and not asked:
                    asked = True
                    process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, drawn.decode()
    os.close(ours)
    return drawn.decode()
