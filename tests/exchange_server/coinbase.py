"""Coinbase Exchange, as its documentation describes it, trading the recorded market as `BTC-USDT`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.exchange_server.server import ExchangeServer, Socket

if TYPE_CHECKING:
    from tests.exchange_server.market import Market, Step

SIDES = {True: "buy", False: "sell"}
"""The side of the resting order, by whether the buyer was the maker."""


class CoinbaseServer(ExchangeServer):
    """Coinbase Exchange, on this machine."""

    garbage = ("not json", '{"type": "nonsense", "product_id": "BTC-USDT"}', '{"type": "match"}', "[]", "{}")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.serve),
            web.get("/products/{product}", self._product),
            web.get("/products/{product}/trades", self._trades),
        ]

    async def subscribed(self, socket: Socket, message: dict[str, Any]) -> None:
        listed = {
            f"{channel['name']} {product}"
            for channel in message["channels"]
            for product in channel["product_ids"]
        }
        if message["type"] == "unsubscribe":
            socket.streams -= listed
        socket.streams |= listed if message["type"] == "subscribe" else set()
        await self.send_text(socket, json.dumps({"type": "subscriptions", "channels": message["channels"]}))
        for name in sorted(listed) if message["type"] == "subscribe" else ():
            channel, product = name.split()
            market = self.markets[product.replace("-", "")]
            if channel == "level2_batch":
                await self.send_text(socket, json.dumps(_snapshot(market, product)))
            if channel == "matches" and (last := market.trades_before(2**62, 1)):
                await self.send_text(socket, json.dumps(_match(last[0], product) | {"type": "last_match"}))

    def frames(self, step: Step, socket: Socket) -> list[str]:
        pair = step.stream.partition("@")[0].upper()
        product = f"{pair.removesuffix('USDT')}-USDT"
        market, found = self.markets[pair], list[dict[str, Any]]()
        if step.kind == "trade" and f"matches {product}" in socket.streams:
            found.append(_match(step.data, product))
        if step.kind == "depth@100ms" and f"level2_batch {product}" in socket.streams:
            found.append(_update(step, product))
            if step.data["E"] // 1_000 > (step.data["E"] - 100) // 1_000 and market.trades_before(2**62, 1):
                found.append(_heartbeat(market, step, product))
        return [json.dumps(message) for message in found]

    async def _trades(self, request: web.Request) -> web.Response:
        market = self.markets[request.match_info["product"].replace("-", "")]
        found = market.trades_before(int(request.query["after"]), int(request.query["limit"]))
        keys = ("trade_id", "time", "price", "size", "side")
        rows = [{key: row[key] for key in keys} for row in (_match(trade, "") for trade in found)]
        return await self.answered(request, rows)

    async def _product(self, request: web.Request) -> web.Response:
        product = {
            "id": request.match_info["product"],
            "quote_increment": "0.01",
            "base_increment": "0.00001",
        }
        return await self.answered(request, product)


def _iso(time_ms: int) -> str:
    return (
        datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def _match(trade: dict[str, Any], product: str) -> dict[str, Any]:
    return {
        "type": "match",
        "trade_id": trade["t"],
        "product_id": product,
        "time": _iso(trade["T"]),
        "price": trade["p"],
        "size": trade["q"],
        "side": SIDES[trade["m"]],
    }


def _update(step: Step, product: str) -> dict[str, Any]:
    changes = [
        [side, price, size] for side, key in (("buy", "b"), ("sell", "a")) for price, size in step.data[key]
    ]
    return {"type": "l2update", "product_id": product, "time": _iso(step.data["E"]), "changes": changes}


def _heartbeat(market: Market, step: Step, product: str) -> dict[str, Any]:
    last_id = market.trades_before(2**62, 1)[0]["t"]
    return {
        "type": "heartbeat",
        "sequence": 1,
        "last_trade_id": last_id,
        "product_id": product,
        "time": _iso(step.data["E"]),
    }


def _snapshot(market: Market, product: str) -> dict[str, Any]:
    bids, asks = market.book
    return {
        "type": "snapshot",
        "product_id": product,
        "bids": sorted(([p, s] for p, s in bids.items()), key=lambda level: -float(level[0])),
        "asks": sorted(([p, s] for p, s in asks.items()), key=lambda level: float(level[0])),
    }
