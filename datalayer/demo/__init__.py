"""Real market data through the whole library, to look at: what `datalayer demo` runs."""
