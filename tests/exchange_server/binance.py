"""Binance spot, as its documentation describes it: combined streams and the REST interface."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.exchange_server.server import ExchangeServer, Socket

if TYPE_CHECKING:
    from tests.exchange_server.market import Step


class BinanceServer(ExchangeServer):
    """Binance, on this machine.

    Attributes:
        old_snapshots: so many of the next snapshots are of the book as it was at the beginning.
    """

    old_snapshots = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/stream", self.serve),
            web.get("/api/v3/depth", self._depth),
            web.get("/api/v3/historicalTrades", self._trades),
            web.get("/api/v3/klines", self._klines),
            web.get("/api/v3/exchangeInfo", self._info),
        ]

    async def subscribed(self, socket: Socket, message: dict[str, Any]) -> None:
        known = {step.stream for market in self.markets.values() for step in market.steps}
        others = {name for name in message["params"] if "@kline_" in name}
        if not set(message["params"]) <= known | others:
            error = {"code": 2, "msg": "Invalid request: unknown stream"}
            await self.send_text(socket, json.dumps({"error": error, "id": message["id"]}))
            return
        change = (
            socket.streams.update if message["method"] == "SUBSCRIBE" else socket.streams.difference_update
        )
        change(message["params"])
        await self.send_text(socket, json.dumps({"result": None, "id": message["id"]}))

    def frames(self, step: Step, socket: Socket) -> list[str]:
        if step.stream not in socket.streams:
            return []
        data = _in_microseconds(step.data) if socket.in_microseconds else step.data
        return [json.dumps({"stream": step.stream, "data": data})]

    async def _depth(self, request: web.Request) -> web.Response:
        market, limit = self.markets[request.query["symbol"]], int(request.query["limit"])
        if self.old_snapshots:
            self.old_snapshots -= 1
            return await self.answered(request, market.snapshot)
        bids, asks = market.book
        body = {
            "lastUpdateId": market.update_id,
            "bids": sorted(([p, s] for p, s in bids.items()), key=lambda level: -float(level[0]))[:limit],
            "asks": sorted(([p, s] for p, s in asks.items()), key=lambda level: float(level[0]))[:limit],
        }
        return await self.answered(request, body)

    async def _trades(self, request: web.Request) -> web.Response:
        market = self.markets[request.query["symbol"]]
        found = market.known_trades(int(request.query["fromId"]), int(request.query["limit"]))
        rows = [
            {"id": t["t"], "price": t["p"], "qty": t["q"], "time": t["T"], "isBuyerMaker": t["m"]}
            for t in found
        ]
        return await self.answered(request, rows)

    async def _klines(self, request: web.Request) -> web.Response:
        market, query = self.markets[request.query["symbol"]], request.query
        bounds = int(query["startTime"]), int(query["endTime"]), int(query["limit"])
        found = market.known_klines(query["interval"], *bounds)
        rows = [
            [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], "0.0", k["n"], "0.0", "0.0", "0"]
            for k in found
        ]
        return await self.answered(request, rows)

    async def _info(self, request: web.Request) -> web.Response:
        pair = request.query["symbol"]
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
        ]
        names = {"symbol": pair, "baseAsset": pair.removesuffix("USDT"), "quoteAsset": "USDT"}
        return await self.answered(request, {"symbols": [names | {"filters": filters}]})


def _in_microseconds(data: dict[str, Any]) -> dict[str, Any]:
    changed = deepcopy(data)
    for part, keys in ((changed, ("E", "T")), (changed.get("k", {}), ("t", "T"))):
        for key in keys:
            if key in part:
                part[key] *= 1_000
    return changed
