"""Finding out about instruments that are met for the first time."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from datalayer.db.retry import RetryableDBOperation
from datalayer.domain.scales import inferred_scales
from datalayer.errors import DatabaseError, InvalidInputError
from datalayer.ingestion.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.instrument import Instrument
    from datalayer.ingestion.settings import IngestionSettings
    from datalayer.ingestion.streams import Stream, Streams

logger = logging.getLogger(__name__)

_UNKNOWN: Final = (
    "not registered; `InstrumentRepository.ensure` registers it, or let the pipeline do it by "
    "unknown_instruments='register'"
)
# All instruments are asked for at once, and the answer counts this long: a start meets thousands for the first time in one
# second, and a feed may send thousands of records of unknown ones.
_FRESH_S: Final = 2.0
_WAIT_S: Final = 1.0


class InstrumentDirectory:
    """Knows the scales of instruments: from the database, else from earlier runs, else by the settings.

    Args:
        database: where they are registered.
        streams: takes what is found.
        settings: what to do with unknown ones.
        check_open: raises when nothing is taken in any more, so that nobody waits for it.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        streams: Streams,
        settings: IngestionSettings,
        *,
        check_open: Callable[[], None],
    ) -> None:
        self._database, self._streams, self._settings = database, streams, settings
        self._check_open = check_open
        self._operation = RetryableDBOperation(deadline_s=settings.lookup_s)
        self._lock = asyncio.Lock()
        self._answer: dict[str, Instrument] | None = None
        self._stale_at = -math.inf

    async def resolve(self, symbol: str, prices: Sequence[object], sizes: Sequence[object]) -> Stream:
        """Return the stream of an instrument that is not known here yet.

        With the policy "reject" and the database away, an instrument that earlier runs did not know keeps its caller waiting:
        it can be neither accepted nor refused.

        Args:
            symbol: canonical.
            prices: of its first record.
            sizes: of its first record.

        Raises:
            InvalidInputError: it is not registered, and the settings want such records rejected; or scales cannot be
                inferred from this record.
            IngestionClosedError: the pipeline was closed while the caller waited.
        """
        while True:
            registered = await self._registered()
            stream = self._streams.current.get(symbol) or self._decide(registered, symbol, prices, sizes)
            if stream is not None:
                return stream
            await asyncio.sleep(_WAIT_S)
            self._check_open()

    async def _registered(self) -> dict[str, Instrument] | None:
        """Return all instruments, as of a moment ago; None: the database is away."""
        async with self._lock:
            if asyncio.get_running_loop().time() >= self._stale_at:
                try:
                    # In a task of its own: the caller's may have a transaction open, which is no concern of this one.
                    self._answer = await asyncio.create_task(self._operation(self._load))
                except DatabaseError as exc:
                    logger.warning("instruments cannot be looked up: %s", exc)
                    self._answer = None
                self._stale_at = asyncio.get_running_loop().time() + _FRESH_S
            return self._answer

    async def _load(self) -> dict[str, Instrument]:
        async with UnitOfWork(self._database) as uow:
            return {instrument.symbol: instrument for instrument in await uow.instruments.list_all()}

    def _decide(
        self,
        registered: dict[str, Instrument] | None,
        symbol: str,
        prices: Sequence[object],
        sizes: Sequence[object],
    ) -> Stream | None:
        if registered is None:
            return self._without_database(symbol, prices, sizes)
        if (found := registered.get(symbol)) is not None:
            return self._streams.use(symbol, (found.price_scale, found.size_scale))
        if self._settings.unknown_instruments == "register":
            return self._streams.use(symbol, self._scales(symbol, prices, sizes))
        raise InvalidInputError("symbol", symbol, _UNKNOWN)

    def _without_database(
        self, symbol: str, prices: Sequence[object], sizes: Sequence[object]
    ) -> Stream | None:
        remembered = self._streams.remembered.get(symbol)
        if remembered is not None:
            return self._streams.use(symbol, remembered.scales)
        if self._settings.unknown_instruments == "register":
            return self._streams.use(symbol, self._scales(symbol, prices, sizes))
        return None

    def _scales(self, symbol: str, prices: Sequence[object], sizes: Sequence[object]) -> tuple[int, int]:
        scales = self._settings.scales.get(symbol)
        scales = scales if scales is not None else inferred_scales(prices, sizes)  # type: ignore[arg-type]
        return scales.price, scales.size
