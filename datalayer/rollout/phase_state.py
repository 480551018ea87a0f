"""In which phase the switch from Parquet to the database is; kept in the database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

_CURRENT: Final = text("SELECT phase, entered_at, note FROM rollout_phases ORDER BY id DESC LIMIT 1")
_HISTORY: Final = text("SELECT phase, entered_at, note FROM rollout_phases ORDER BY id")
_ENTER: Final = text(
    "INSERT INTO rollout_phases (phase, note, entered_at) VALUES (:phase, :note, clock_timestamp())"
)
_ALONE: Final = text("LOCK TABLE rollout_phases IN SHARE ROW EXCLUSIVE MODE")
_FIRST: Final = text("SELECT min(entered_at) FROM rollout_phases WHERE phase >= 1")
_SHADOW: Final = text("""
    SELECT count(*), coalesce(sum(compared), 0), count(*) FILTER (WHERE different > 0), min(detail)
    FROM shadow_reads WHERE read_at >= :since
""")
_NOTE: Final = text("""
    INSERT INTO shadow_reads (symbol, timeframe, compared, different, detail, read_at)
    VALUES (:symbol, :timeframe, :compared, :different, :detail, clock_timestamp())
""")


class Phase(IntEnum):
    """A phase of the switch."""

    PARQUET = 0
    """As it was: Parquet is written and read."""
    DUAL_WRITE = 1
    """Both sides are written, Parquet is read."""
    MIGRATE = 2
    """Likewise, while history is taken into the database."""
    VERIFY = 3
    """Likewise; each read is made from the database too, and compared."""
    SWITCH_READS = 4
    """Both sides are written, the database is read; each read is made from Parquet too, and compared."""
    STOP_PARQUET = 5
    """The database is written and read; the files lie as they were."""
    ARCHIVE = 6
    """The files are put away. There is no way back by itself."""

    @property
    def label(self) -> str:
        """For people: `4 switch reads`."""
        return f"{self.value} {self.name.lower().replace('_', ' ')}"

    @property
    def writes_parquet(self) -> bool:
        """Whether Parquet is written."""
        return self <= Phase.SWITCH_READS

    @property
    def writes_database(self) -> bool:
        """Whether the database is written."""
        return self >= Phase.DUAL_WRITE

    @property
    def reads_database(self) -> bool:
        """Whether reads are answered from the database."""
        return self >= Phase.SWITCH_READS

    @property
    def compares(self) -> bool:
        """Whether reads are made from both sides."""
        return self in {Phase.VERIFY, Phase.SWITCH_READS}


@dataclass(frozen=True, slots=True)
class EnteredPhase:
    """A phase, when it was entered (UTC), and what was checked then."""

    phase: Phase
    entered_at: datetime | None
    note: str


@dataclass(frozen=True, slots=True)
class ShadowReads:
    """Reads that were made from both sides.

    Attributes:
        reads: how many.
        rows: rows that either side had.
        different: reads in which the sides did not agree.
        detail: what one of those was about.
    """

    reads: int
    rows: int
    different: int
    detail: str | None


class RolloutState:
    """Reads and writes the state of the switch inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def current(self) -> EnteredPhase:
        """Return the present phase."""
        with driver_errors_translated():
            row = (await self._conn.execute(_CURRENT)).one_or_none()
        return (
            EnteredPhase(Phase.PARQUET, None, "")
            if row is None
            else EnteredPhase(Phase(row[0]), row[1], row[2])
        )

    async def history(self) -> list[EnteredPhase]:
        """Return all phases that were entered, the oldest first."""
        with driver_errors_translated():
            return [EnteredPhase(Phase(row[0]), row[1], row[2]) for row in await self._conn.execute(_HISTORY)]

    async def began_at(self) -> datetime | None:
        """Return since when the database is written; None: it is not."""
        with driver_errors_translated():
            began: datetime | None = await self._conn.scalar(_FIRST)
        return began

    async def enter(self, phase: Phase, note: str, *, before: Phase) -> bool:
        """Make a phase the present one, if another one still is; whoever else does so at the same time waits.

        Returns:
            False: somebody was faster; nothing was changed.
        """
        with driver_errors_translated():
            await self._conn.execute(_ALONE)
        if (await self.current()).phase is not before:
            return False
        with driver_errors_translated():
            await self._conn.execute(_ENTER, {"phase": phase.value, "note": note})
        return True

    async def note_shadow_read(
        self, symbol: str, timeframe_s: int, compared: int, different: int, detail: str | None
    ) -> None:
        """Note a read that was made from both sides."""
        values = {
            "symbol": symbol,
            "timeframe": timeframe_s,
            "compared": compared,
            "different": different,
            "detail": detail,
        }
        with driver_errors_translated():
            await self._conn.execute(_NOTE, values)

    async def shadow_reads(self, since: datetime) -> ShadowReads:
        """Return what is known of reads from both sides since a moment."""
        with driver_errors_translated():
            return ShadowReads(*(await self._conn.execute(_SHADOW, {"since": since})).one())
