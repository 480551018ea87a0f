"""Value types of market data; usable without a database."""
