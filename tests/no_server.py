"""A database that does not answer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from datalayer.config import Settings
from datalayer.db.connection import create_engine
from tests.own_cluster import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def engine_on_nothing() -> AsyncIterator[AsyncEngine]:
    """An engine on a server that is not there."""
    url = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/nothing"
    engine = create_engine(make_url(url), Settings.load(database_url=url, connect_timeout_s=0.2))
    yield engine
    await engine.dispose()
