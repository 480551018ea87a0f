"""Pictures of market data as PNG files. Needs the extra `plot`."""
