"""Comparing models with a server and writing the difference down; importing it registers both with Alembic."""

from datalayer.timescale.autogenerate import compare, render

__all__ = ["compare", "render"]
