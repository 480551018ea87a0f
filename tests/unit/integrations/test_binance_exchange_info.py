"""Scales out of what Binance says of an instrument."""

from __future__ import annotations

import json
from typing import Any

import pytest

from datalayer.domain.scales import Scales
from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.exchange_info import read_exchange_info


def document(**change: Any) -> dict[str, Any]:
    entry = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": "0.01000000",
                "maxPrice": "1000000.00000000",
                "tickSize": "0.01000000",
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": "0.00001000",
                "maxQty": "9000.00000000",
                "stepSize": "0.00001000",
            },
            {"filterType": "ICEBERG_PARTS", "limit": 10},
        ],
    }
    return {"timezone": "UTC", "symbols": [{"baseAsset": "ETH", "quoteAsset": "USDT"}, entry | change]}


@pytest.mark.parametrize("symbol", ["BTC/USDT", "btcusdt"])
def test_tick_and_step_become_scales(symbol: str) -> None:
    listed = read_exchange_info(json.dumps(document()), symbol)
    assert (listed.symbol, listed.scales) == ("BTC/USDT", Scales(2, 5))
    assert listed.details == {
        "exchange_symbol": "BTCUSDT",
        "tickSize": "0.01000000",
        "stepSize": "0.00001000",
    }
    assert read_exchange_info(document(), symbol) == listed


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("[", "exchangeInfo"),
        ("[]", "exchangeInfo"),
        ({}, "symbols"),
        ({"symbols": 1}, "symbols"),
        ({"symbols": [None, 3]}, "symbol"),
        (document(baseAsset="XBT"), "symbol"),
        (document(filters=None), "filters"),
        (document(filters=[]), "filters"),
        (document(filters=[{"filterType": "PRICE_FILTER"}]), "tickSize"),
        (document(filters=[{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}]), "tickSize"),
        (document(filters=[{"filterType": "PRICE_FILTER", "tickSize": 0.01}]), "tickSize"),
    ],
)
def test_anything_else_is_refused_by_name(given: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_exchange_info(given, "BTC/USDT")
    assert refused.value.field == field
