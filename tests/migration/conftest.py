"""What pytest-alembic's built-in tests run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from datalayer.db.driver_connect import search_path
from datalayer.db.migrations import script_location

if TYPE_CHECKING:
    from datalayer.config import Settings


@pytest.fixture
def alembic_config(empty_schema: Settings) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location()))
    config.attributes["schema"] = empty_schema.database_schema
    return config


@pytest.fixture
def alembic_engine(empty_schema: Settings) -> AsyncEngine:
    """No pool: pytest-alembic runs each step in an event loop of its own."""
    server_settings = {"search_path": search_path(empty_schema.database_schema)}
    return create_async_engine(
        empty_schema.require_url(), poolclass=NullPool, connect_args={"server_settings": server_settings}
    )
