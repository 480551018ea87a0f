"""TimescaleDB from Python: sizes, compression and policies. Knows nothing of trading."""
