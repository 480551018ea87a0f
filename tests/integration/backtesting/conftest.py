"""A blocking provider on the migrated database, as a strategy has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import datalayer.sync
from datalayer.db.connection import pool_of
from datalayer.provider.reads import Reads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings


@pytest.fixture
def market(engine: AsyncEngine, settings: Settings) -> Iterator[datalayer.sync.UnifiedDataProvider]:
    """What the test leaves behind in it is an error."""
    del engine  # emptied at the end
    with datalayer.sync.connect(settings=settings) as provider:
        yield provider
        in_use = pool_of(Reads(provider.asynchronous.database).engine).statistics.in_use
        assert in_use == 0
