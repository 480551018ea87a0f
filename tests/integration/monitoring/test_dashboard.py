"""The web page: what it shows, what it refuses, and how it looks in a browser."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.async_api import async_playwright

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import ConfigurationError
from datalayer.monitoring.dashboard import serve_dashboard
from datalayer.monitoring.dashboard.history import ServiceHistory
from datalayer.monitoring.dashboard.svg import coverage_map
from datalayer.repositories import CoverageRepository
from tests.late_rows import BTC, ETH, seconds, write_books, write_candles
from tests.monitored import monitored, work
from tests.own_cluster import free_port
from tests.shell import shell_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.config import Settings

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed; `apt-get install chromium` brings it"
)
HOLE = 3


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


async def ask(url: str, query: str = "", *, method: str = "GET", host: str | None = None) -> Answer:
    """Ask in another thread, naming the host as one likes."""

    def request() -> Answer:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.request(method, f"/{query}", headers={"Host": host or address.netloc})
        found = connection.getresponse()
        answer = Answer(found.status, found.headers, found.read().decode())
        connection.close()
        return answer

    return await asyncio.to_thread(request)


@asynccontextmanager
async def dashboard(settings: Settings, metrics: str | None = None) -> AsyncIterator[str]:
    async with (
        DatabaseConnectionManager(settings) as database,
        serve_dashboard(database, port=0, metrics=metrics) as url,
    ):
        yield url


async def fill(engine: AsyncEngine) -> datetime:
    """Two hours of candles with a hole, and some books; returns where the hole begins."""
    last = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    times = seconds(last - timedelta(minutes=119), 120, step=60)
    async with engine.begin() as conn:
        await write_candles(conn, times.delete(slice(60, 60 + HOLE)), timeframe=Timeframe.M1)
        await write_candles(
            conn, [last.replace(minute=0) - timedelta(hours=1)], timeframe=Timeframe.H1, symbol=ETH
        )
        await write_books(conn, seconds(last - timedelta(minutes=5), 120))
    hole: datetime = times[60].to_pydatetime()
    return hole


async def test_it_shows_candles_holes_rates_and_storage(engine: AsyncEngine, settings: Settings) -> None:
    hole = await fill(engine)
    async with dashboard(settings) as url:
        found = await ask(url, "?symbol=btcusdt&timeframe=1m")
    assert found.status == 200
    assert len(re.findall(r'<g class="(?:up|down)">', found.text)) == 100
    assert found.text.count('class="absent"') == 1
    assert f"Coverage: {HOLE} missing" in found.text
    assert (
        f"missing: {hole:%Y-%m-%d %H:%M:%S} to {hole + HOLE * timedelta(minutes=1):%Y-%m-%d %H:%M:%S}"
        in found.text
    )
    for part in (
        "order books",
        "hypertables",
        "--metrics ADDRESS",
        "gaps</span>: BTC/USDT candles 1m misses 3",
    ):
        assert part in found.text, part


async def test_what_is_not_there_is_said(engine: AsyncEngine, settings: Settings) -> None:
    await fill(engine)
    async with dashboard(settings) as url:
        unknown = await ask(url, "?symbol=DOGE/USDT")
        evil = await ask(url, "?symbol=%3Cscript%3Ealert(1)%3C/script%3E")
        timeframe = await ask(url, "?timeframe=7m")
        span = await ask(url, "?coverage=for+ever")
        nothing = await ask(url, "elsewhere")
    assert [one.status for one in (unknown, evil, timeframe, span, nothing)] == [404] * 5
    assert "there are BTC/USDT, ETH/USDT" in unknown.text
    assert "<script>" not in evil.text
    assert "&lt;script&gt;" in evil.text


async def test_an_empty_database(settings: Settings) -> None:
    async with dashboard(settings) as url:
        found = await ask(url)
    assert found.status == 200
    assert "Nothing is stored yet" in found.text
    assert "all is well" in found.text


async def test_a_schema_that_is_not_there(empty_schema: Settings) -> None:
    async with dashboard(empty_schema) as url:
        found = await ask(url)
    assert (found.status, "datalayer db upgrade" in found.text) == (503, True)


async def test_nothing_can_be_written_and_no_other_name_is_served(
    engine: AsyncEngine, settings: Settings
) -> None:
    await fill(engine)
    async with dashboard(settings) as url:
        port = urlsplit(url).port
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await ask(url, method=method)).status == 405
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "192.0.2.1"):
            refused = await ask(url, host=host)
            assert (refused.status, "BTC" in refused.text) == (421, False)
        for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
            assert (await ask(url, host=host)).status == 200


async def test_it_needs_nothing_from_elsewhere_and_holds_no_secret(
    engine: AsyncEngine, settings: Settings
) -> None:
    await fill(engine)
    async with dashboard(settings) as url:
        found = await ask(url)
    assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    assert "unsafe" not in found.headers["Content-Security-Policy"]
    assert not re.search(r"https?://|<script|<link|<img", found.text)
    address = settings.require_url()
    for secret in (address.password, address.render_as_string(hide_password=False)):
        assert not secret or str(secret) not in found.text


async def test_latencies_of_a_service(settings: Settings, tmp_path: Path) -> None:
    async with monitored(settings, tmp_path) as service:
        history = ServiceHistory(service.address)
        await history.look(service.address)
        await work(service)
        await history.look(service.address)
    ((_, rate),) = history.rates
    assert rate > 0
    assert set(history.latencies) == {"age 95 %", "flush 95 %", "query 95 %", "cache 99 %"}
    await history.look(f"http://127.0.0.1:{free_port()}/metrics")
    assert history.failure is not None


async def test_a_hole_of_a_second_in_a_day_is_drawn(engine: AsyncEngine) -> None:
    day = datetime(2024, 2, 29, tzinfo=UTC)
    async with engine.begin() as conn:
        await write_candles(conn, seconds(day, 86_400).delete(40_000))
        report = await CoverageRepository(conn).query_coverage(BTC, "1s", day, day + timedelta(days=1))
    drawn = coverage_map([report], day, day + timedelta(days=1))
    (width,) = re.findall(r'class="missing" x="[\d.]+" width="([\d.]+)"', drawn)
    assert float(width) >= 1.5
    assert drawn.index('class="missing"') > drawn.rindex('class="traded"')


@needs_chromium
async def test_in_a_browser(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    await fill(engine)
    complaints: list[str] = []
    async with dashboard(settings) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, width in (("wide", 1280), ("narrow", 390)):
            page = await browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda message: complaints.append(message.text))
            await page.goto(url)
            await page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
            assert await page.evaluate("document.documentElement.scrollWidth") == width
            assert await page.locator("svg").count() >= 4
            red = await page.locator("rect.missing").first.evaluate("one => getComputedStyle(one).fill")
            assert red == "rgb(200, 69, 59)"  # the style is not blocked by its own policy
        await page.select_option("select[name=symbol]", ETH)
        await page.select_option("select[name=timeframe]", "1h")
        await page.get_by_role("button", name="Show").click()
        assert await page.locator("h2").first.text_content() == "ETH/USDT 1h, the last 1 candles"
        await browser.close()
    assert complaints == []


async def test_a_port_in_use_is_a_clear_error(settings: Settings) -> None:
    async with DatabaseConnectionManager(settings) as database, serve_dashboard(database, port=0) as url:
        with pytest.raises(ConfigurationError, match="choose another port"):
            async with serve_dashboard(database, port=urlsplit(url).port or 0):
                pass


def test_the_command_serves_until_it_is_asked_to_end(settings: Settings) -> None:
    shell = {name: value for name, value in shell_on(settings).env.items() if value}
    command = [sys.executable, "-c", "from datalayer.cli import main; main()", "dashboard", "--port", "0"]
    with subprocess.Popen(command, env={**os.environ, **shell}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        try:
            found = asyncio.run(ask(url))
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert (found.status, "Nothing is stored yet" in found.text) == (200, True)
