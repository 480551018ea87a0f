"""A ready provider in one line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from datalayer.config import Settings
from datalayer.domain.timeframe import Timeframe
from datalayer.provider.unified import UnifiedDataProvider

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from datalayer.cache import DataCacheManager
    from datalayer.domain.indicators import Indicator
    from datalayer.provider.settings import ProviderSettings

logger = logging.getLogger(__name__)


def connect(
    url: str | None = None,
    *,
    settings: Settings | None = None,
    symbols: Iterable[str] | None = None,
    timeframes: Iterable[Timeframe | str] = tuple(Timeframe),
    indicators: Sequence[Indicator] = (),
    cache: DataCacheManager | None = None,
    provider_settings: ProviderSettings | None = None,
) -> UnifiedDataProvider:
    """Return a provider on a database for interactive use, to be opened with `async with`.

    An embedded database gets its schema when it is opened; on a server it must have been deployed.

    Args:
        url: address of the database; see `datalayer.config.parse_database_url`. Default: the one configured by
            `DATALAYER_DATABASE_URL`, else the embedded database in `settings.embedded_dir` (a warning is logged that
            names the folder).
        settings: of the database, read from the environment if not given.
        symbols: see `UnifiedDataProvider`, as for those that follow.
        timeframes: likewise.
        indicators: likewise.
        cache: likewise.
        provider_settings: likewise, its `settings`.

    Raises:
        ConfigurationError: the address cannot be read.
        InvalidInputError: as from `UnifiedDataProvider`.
    """
    settings = settings or Settings.load()
    if url is None and settings.url is None:
        logger.warning("%s", settings.embedded_notice)
    return UnifiedDataProvider.from_settings(
        settings.for_interactive_use(url),
        symbols=symbols,
        timeframes=timeframes,
        indicators=indicators,
        cache=cache,
        provider_settings=provider_settings,
    )
