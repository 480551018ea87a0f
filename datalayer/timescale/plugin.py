"""Importing it in `env.py` teaches Alembic the operations, and autogenerate and `alembic check` what TimescaleDB adds."""

from datalayer.timescale import autogenerate, operations

__all__ = ["autogenerate", "operations"]
