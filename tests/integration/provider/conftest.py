"""A clock that is turned by hand, and providers on the migrated database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from datalayer.cache import DataCacheManager
from tests import fake_clock

if TYPE_CHECKING:
    from datalayer.cache import CacheSettings


class Clock(fake_clock.Clock):
    """A clock that makes caches which follow it."""

    def cache(self, settings: CacheSettings | None = None) -> DataCacheManager:
        return DataCacheManager(settings, clock=self)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2024, 8, 8, 10, tzinfo=UTC))
