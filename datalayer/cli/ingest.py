"""`datalayer ingest`: an exchange's live market data into the database, as a service."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalayer.cli.database import database_settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.ingestion import DataIngestionPipeline, IngestionSettings, cancelled_by_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datalayer.config import Settings
    from datalayer.integrations.feeds import Feed, FeedStatistics

    Report = Callable[[FeedStatistics, DataIngestionPipeline], None]

logger = logging.getLogger(__name__)
EVENTS_LEFT = 3


class ExchangeName(StrEnum):
    """Exchanges that there are adapters for."""

    BINANCE = "binance"
    COINBASE = "coinbase"


def ingest(
    symbols: Annotated[list[str], typer.Argument(help="In any known spelling: BTC/USDT, BTCUSDT, btc-usdt.")],
    *,
    exchange: Annotated[ExchangeName, typer.Option(help="Whose market data.")] = ExchangeName.BINANCE,
    candles: Annotated[
        str | None,
        typer.Option(
            help="Timeframes of the exchange's candles, as in 1s,1m. Default: all that it sends. "
            "Without 1s those of a second are made from the trades.",
            metavar="LIST",
        ),
    ] = None,
    order_books: Annotated[bool, typer.Option(help="Twice a second, the best 20 levels.")] = True,
    outbox: Annotated[
        Path, typer.Option(help="File that keeps what the database has not taken yet; one for each process.")
    ] = Path("datalayer.outbox"),
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Serve metrics of this process there; 0: any port. Default: not at all."
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address to serve them on; only this machine reaches the default.")
    ] = "127.0.0.1",
    report_every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two reports.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Reports as lines of JSON, on stdout.")] = False,
) -> None:
    """Stream trades, candles and order books into the database, until SIGTERM or SIGINT; then write what is left, and end.

    Connections that are lost are made anew, and holes are filled from the exchange, also the one since the last run;
    `datalayer coverage` shows those that cannot be. Symbols that are not registered are, with the scales that the exchange says.

    Addresses of exchanges are set by DATALAYER_BINANCE_SOCKET_URL and the like.
    """
    if not as_json:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = database_settings()
    chosen = None if candles is None else [one.strip() for one in candles.split(",") if one.strip()]
    feed = _feed_of(exchange, settings, symbols, chosen, order_books=order_books)
    report = partial(_report, as_json=as_json)
    measured = None if metrics_port is None else _Measured(metrics_host, metrics_port, outbox)
    serving = _serve(
        settings,
        feed,
        source=exchange.value,
        outbox=outbox,
        report=report,
        every_s=report_every_s,
        measured=measured,
    )
    left = asyncio.run(serving)
    if left:
        typer.echo(f"left in {outbox} for the next start: {left}", err=True)
        raise typer.Exit(EVENTS_LEFT)


class _Measured:
    """Metrics of this process, and where they are served."""

    def __init__(self, host: str, port: int, outbox: Path) -> None:
        from datalayer.monitoring.metrics import ServiceMetrics  # noqa: PLC0415 (an extra)

        self.metrics = ServiceMetrics()
        self._host, self._port = host, port
        self._folder = outbox.absolute().parent

    @contextmanager
    def serving(
        self, database: DatabaseConnectionManager, pipeline: DataIngestionPipeline, feed: Feed
    ) -> Iterator[None]:
        from datalayer.monitoring.metrics import serve_metrics  # noqa: PLC0415 (an extra)

        self.metrics.watch(database=database, pipeline=pipeline, feed=feed, folders={"outbox": self._folder})
        with serve_metrics(self.metrics, host=self._host, port=self._port) as address:
            logger.info("metrics at %s", address)
            yield


def _feed_of(
    name: ExchangeName,
    settings: Settings,
    symbols: list[str],
    candles: list[str] | None,
    *,
    order_books: bool,
) -> Callable[[DataIngestionPipeline], Feed]:
    # Live feeds are an extra; the other commands do without its packages.
    from datalayer.integrations.binance.spot import BinanceSpot  # noqa: PLC0415
    from datalayer.integrations.coinbase import CoinbaseExchange  # noqa: PLC0415
    from datalayer.integrations.feeds import Channel, Feed  # noqa: PLC0415

    kind = BinanceSpot if name is ExchangeName.BINANCE else CoinbaseExchange
    urls = {key: getattr(settings, f"{name.value}_{key}") for key in ("socket_url", "rest_url")}
    exchange = kind(**{key: url for key, url in urls.items() if url is not None})
    channels = (Channel.TRADES, Channel.ORDER_BOOK) if order_books else (Channel.TRADES,)
    return lambda pipeline: Feed(exchange, symbols, pipeline=pipeline, channels=channels, candles=candles)


async def _serve(
    settings: Settings,
    feed_of: Callable[[DataIngestionPipeline], Feed],
    *,
    source: str,
    outbox: Path,
    report: Report,
    every_s: float,
    measured: _Measured | None,
) -> dict[str, int]:
    """Stream until a signal comes; return how many events of each kind are left in the outbox."""
    async with DatabaseConnectionManager(settings) as database:
        ingestion = IngestionSettings(source=source)
        hooks = None if measured is None else measured.metrics.hooks
        pipeline = await DataIngestionPipeline(
            database, outbox=outbox, settings=ingestion, hooks=hooks
        ).open()
        feed = feed_of(pipeline)
        served = nullcontext() if measured is None else measured.serving(database, pipeline, feed)
        with cancelled_by_signals(), served:
            try:
                async with feed:
                    await _report_until_end(feed, pipeline, report, every_s)
            except asyncio.CancelledError:
                logger.info("ending: what is left goes to the database")
            finally:
                left = await pipeline.close()
    return {kind.label: count for kind, count in left.items()}


async def _report_until_end(
    feed: Feed, pipeline: DataIngestionPipeline, report: Report, every_s: float
) -> None:
    ended = asyncio.create_task(feed.wait())
    try:
        while not ended.done():
            await asyncio.wait([ended], timeout=every_s)
            report(feed.statistics, pipeline)
        await ended
    finally:
        ended.cancel()


def _report(statistics: FeedStatistics, pipeline: DataIngestionPipeline, as_json: bool) -> None:
    told = _told(statistics, pipeline)
    typer.echo(json.dumps(told) if as_json else _line(told), err=not as_json)


def _told(statistics: FeedStatistics, pipeline: DataIngestionPipeline) -> dict[str, Any]:
    lanes = pipeline.statistics.lanes.items()
    return asdict(statistics) | {
        "connections": [
            asdict(one)
            | {"connected_since": None if one.connected_since is None else one.connected_since.isoformat()}
            for one in statistics.connections
        ],
        "is_healthy": statistics.is_healthy,
        "stored": {kind.label: lane.stored.inserted for kind, lane in lanes},
        "waiting": {kind.label: lane.buffered + lane.spilled for kind, lane in lanes},
    }


def _line(told: dict[str, Any]) -> str:
    up = sum(one["connected_since"] is not None for one in told["connections"])
    parts = [f"{up}/{len(told['connections'])} connections"]
    parts += [f"{count:,} {kind.replace('_', ' ')}" for kind, count in told["events"].items()]
    parts += [f"{count:,} {kind.replace('_', ' ')} (fault)" for kind, count in told["faults"].items()]
    parts += [f"{count:,} holes {state}" for state, count in told["gaps"].items()]
    waiting = sum(told["waiting"].values())
    return f"{told['exchange']}: {', '.join(parts)}; {waiting:,} events wait for the database"
