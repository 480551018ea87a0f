"""Looking at a database every so often, for those who want its last known state at any moment."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.errors import DatabaseError, InvalidInputError
from datalayer.monitoring.inspection import inspect_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.monitoring.state import DatabaseState

logger = logging.getLogger(__name__)


class DatabaseWatch:
    """The last known state of a database.

    Args:
        database: an open one.
        symbols: see `inspect_database`.
        interval_s: pause between two looks.
        timeout_s: seconds after which a look is given up.

    Attributes:
        state: what was found last; None: nothing yet, or the last look failed.
        failure: why the last look failed; None: it did not.
        duration_s: how long the last look took.

    Raises:
        InvalidInputError: a number is not positive.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager,
        *,
        symbols: Sequence[str] | None = None,
        interval_s: float = 30.0,
        timeout_s: float = 60.0,
    ) -> None:
        for name, value in (("interval_s", interval_s), ("timeout_s", timeout_s)):
            if not 0 < value < float("inf"):
                raise InvalidInputError(name, value, "give a positive number of seconds")
        self._database, self._symbols = database, symbols
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self.state: DatabaseState | None = None
        self.failure: str | None = None
        self.duration_s = 0.0

    async def look(self) -> DatabaseState | None:
        """Look now, and return what was found; None: it could not be told why not, see `failure`."""
        started = monotonic()
        try:
            with driver_errors_translated():
                async with asyncio.timeout(self._timeout_s), self._database.engine.connect() as conn:
                    self.state = await inspect_database(conn, symbols=self._symbols)
            self.failure = None
        except Exception as exc:
            self.state = None
            self.failure = str(exc) or f"no answer in {self._timeout_s:g} s"
            known = isinstance(exc, DatabaseError | TimeoutError)
            logger.warning(
                "the database could not be looked at: %s", self.failure, exc_info=None if known else exc
            )
        self.duration_s = monotonic() - started
        return self.state

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)
