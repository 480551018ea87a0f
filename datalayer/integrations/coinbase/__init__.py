"""Coinbase Exchange."""

from datalayer.integrations.coinbase.exchange import CoinbaseExchange

__all__ = ["CoinbaseExchange"]
