"""The phase of the switch as a process knows it: asked for again and again, and remembered while the database is away."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from datalayer.errors import DatabaseUnavailableError
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.rollout.phase_state import Phase, RolloutState

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager

logger = logging.getLogger(__name__)

PHASE_EVERY_S: Final = 1.0
"""How old the phase may be that a reader or writer goes by."""

_PATIENCE_S: Final = 0.2


class PhaseWatch:
    """Tells the phase; belongs to one event loop.

    Parquet is read and written while the database is away: whoever knew the phase goes on with it, and a server that does not
    answer keeps nobody waiting for longer than a fifth of a second.

    Args:
        database: an open connection manager, or an engine.
    """

    def __init__(self, database: DatabaseConnectionManager | AsyncEngine) -> None:
        self._database = database
        self._asking: asyncio.Task[Phase] | None = None
        self._until = 0.0
        self.known: Phase | None = None

    async def current(self) -> Phase:
        """Return the phase, as it was at most `PHASE_EVERY_S` ago, or when the database was last there.

        Raises:
            DatabaseUnavailableError: the database is away, and the phase was never known.
            DatabaseError: the phase cannot be read for another reason.
        """
        if self.known is not None and monotonic() < self._until:
            return self.known
        asking = self._asking = self._asking or asyncio.create_task(self._ask())
        await asyncio.wait({asking}, timeout=None if self.known is None else _PATIENCE_S)
        self._until = monotonic() + PHASE_EVERY_S
        if not asking.done():
            assert self.known is not None  # noqa: S101 (else it was waited for)
            return self.known
        self._asking = None
        try:
            self.known = asking.result()
        except DatabaseUnavailableError as exc:
            if self.known is None:
                raise
            logger.warning("still in phase %s as far as is known: %s", self.known.label, exc)
        return self.known

    async def _ask(self) -> Phase:
        async with UnitOfWork(self._database) as uow:
            return (await RolloutState(uow.connection).current()).phase
