"""Binance spot: its messages, its order book protocol and the replay of recorded streams; nothing here does I/O."""
