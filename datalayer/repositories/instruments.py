"""Instruments: looked up by symbol, registered with their scales."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.instrument import Instrument
from datalayer.domain.scales import inferred_scales
from datalayer.domain.steps import LARGER_SCALE, check_scale
from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError, ScaleError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import ArrayLike
    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT: Final = "SELECT id, symbol, price_scale, size_scale FROM instruments"

# Row locks are not fair: with writers whose transactions overlap, there is always one that shares the row, and whoever
# wants it alone waits for minutes. Writers go through this gate first, in which they queue behind him.
_GATE: Final = (
    "hashtextextended('datalayer.instruments ' || current_schema() || ' ' || CAST(:symbol AS text), 0)"
)
_SELECT_FOR_WRITE: Final = text(f"""
    WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({_GATE}))
    SELECT i.id, i.symbol, i.price_scale, i.size_scale FROM gate, instruments AS i WHERE i.symbol = :symbol FOR SHARE OF i
""")
_HOLD_FOR_WRITE: Final = text(f"""
    WITH gates AS MATERIALIZED (
        SELECT count(pg_advisory_xact_lock_shared({_GATE.replace("CAST(:symbol AS text)", "name")})) AS passed
        FROM (SELECT unnest(CAST(:symbols AS text[])) AS name ORDER BY name) AS names
    )
    SELECT i.id, i.symbol, i.price_scale, i.size_scale FROM gates, instruments AS i
    WHERE gates.passed > 0 AND i.symbol = ANY (CAST(:symbols AS text[])) ORDER BY i.symbol FOR SHARE OF i
""")
_CLOSE_GATE: Final = text(f"SELECT pg_advisory_xact_lock({_GATE})")
_SELECT_FOR_CHANGE: Final = text(f"{_SELECT} WHERE symbol = :symbol FOR NO KEY UPDATE")


class InstrumentRepository:
    """Reads and registers instruments inside the caller's transaction; never commits.

    Symbols are taken in any spelling that `canonical_symbol` reads.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def find(self, symbol: str) -> Instrument | None:
        """Return the instrument, or None if it is not registered."""
        return await self._find(canonical_symbol(symbol))

    async def get(self, symbol: str) -> Instrument:
        """Return the instrument.

        Raises:
            InvalidInputError: it is not registered; names registered ones that look alike.
        """
        return await self._find(canonical_symbol(symbol)) or await self._refuse(symbol)

    async def get_for_write(self, symbol: str) -> Instrument:
        """Return the instrument, and keep it as it is until the transaction ends.

        Its scales decide what the integers of its rows mean, and no foreign key guards it against deletion: both are
        held by a shared lock on its row. Writers do not hinder each other by it.

        Raises:
            InvalidInputError: it is not registered; names registered ones that look alike.
        """
        return await self._one_or_none(_SELECT_FOR_WRITE, canonical_symbol(symbol)) or await self._refuse(
            symbol
        )

    async def hold_for_write(self, symbols: Collection[str]) -> dict[str, Instrument]:
        """Do as `get_for_write` for many at once.

        Args:
            symbols: canonical.

        Returns:
            Instruments by symbol; those that are not registered are absent.
        """
        with driver_errors_translated():
            rows = await self._conn.execute(_HOLD_FOR_WRITE, {"symbols": sorted(symbols)})
        return {row.symbol: Instrument(*row) for row in rows}

    async def get_for_change(self, symbol: str) -> Instrument:
        """Return the instrument, and keep writers of it waiting until the transaction ends; readers go on.

        Waits for those that are writing; whoever comes later waits in turn.

        Raises:
            InvalidInputError: it is not registered; names registered ones that look alike.
            DatabaseError: `lock_timeout` is over.
        """
        canonical = canonical_symbol(symbol)
        with driver_errors_translated():
            await self._conn.execute(_CLOSE_GATE, {"symbol": canonical})
        return await self._one_or_none(_SELECT_FOR_CHANGE, canonical) or await self._refuse(symbol)

    async def list_all(self) -> list[Instrument]:
        """Return all instruments, ordered by symbol."""
        with driver_errors_translated():
            rows = await self._conn.execute(text(f"{_SELECT} ORDER BY symbol"))
        return [Instrument(*row) for row in rows]

    async def ensure(
        self, symbol: str, price_scale: int, size_scale: int, *, details: Mapping[str, Any] | None = None
    ) -> Instrument:
        """Return the instrument, and register it first if need be. Idempotent, also beside other writers.

        Args:
            symbol: any known spelling.
            price_scale: decimal digits that prices need, 0 to 18.
            size_scale: decimal digits that sizes need, 0 to 18.
            details: what the exchange says of it, kept with it as JSON; earlier details of other names stay.

        Returns:
            The instrument as registered; its scales may be larger than asked for.

        Raises:
            ScaleError: it is registered with a smaller scale; names the command that widens it.
            InvalidInputError: a scale is out of range.
        """
        canonical = canonical_symbol(symbol)
        for field, scale in (("price_scale", price_scale), ("size_scale", size_scale)):
            check_scale(scale, field)
        found = await self._find(canonical) or await self._register(canonical, price_scale, size_scale)
        _check_wide_enough(found, price_scale, size_scale)
        if details:
            await self._keep_details(found, details)
        return found

    async def ensure_for_data(self, symbol: str, prices: ArrayLike, sizes: ArrayLike) -> Instrument:
        """Return the instrument; if it is not registered, register it with scales from its first data, with headroom.

        Scales from the exchange or from a scan of all the data are better: `ensure` takes them.

        Args:
            symbol: any known spelling.
            prices: some of its prices, as float, int, `Decimal` or str. Not looked at if it is registered.
            sizes: some of its sizes.

        Raises:
            ScaleError: a value needs more than 12 decimals, or more than 2**53 steps.
            InvalidInputError: a value is no number, or there are none.
        """
        if (found := await self.find(symbol)) is not None:
            return found
        scales = inferred_scales(prices, sizes)
        return await self._register(canonical_symbol(symbol), scales.price, scales.size)

    async def get_details(self, symbol: str) -> dict[str, Any]:
        """Return what the exchange says of the instrument, as it was last kept; empty if nothing was.

        Raises:
            InvalidInputError: it is not registered; names registered ones that look alike.
        """
        instrument = await self.get(symbol)
        statement = text("SELECT CAST(metadata AS text) FROM instruments WHERE id = :id")
        with driver_errors_translated():
            details: dict[str, Any] = json.loads(
                await self._conn.scalar(statement, {"id": instrument.id}) or "{}"
            )
        return details

    async def _find(self, canonical: str) -> Instrument | None:
        return await self._one_or_none(text(f"{_SELECT} WHERE symbol = :symbol"), canonical)

    async def _one_or_none(self, statement: TextClause, canonical: str) -> Instrument | None:
        with driver_errors_translated():
            row = (await self._conn.execute(statement, {"symbol": canonical})).one_or_none()
        return None if row is None else Instrument(*row)

    async def _register(self, canonical: str, price_scale: int, size_scale: int) -> Instrument:
        # Reached for new symbols only: every INSERT takes one of 32,767 ids, even one that ends in a conflict. The
        # conflict's UPDATE changes nothing but waits for the other writer and returns its row.
        statement = text(
            "INSERT INTO instruments (symbol, price_scale, size_scale) VALUES (:symbol, :price_scale, :size_scale)"
            " ON CONFLICT (symbol) DO UPDATE SET symbol = excluded.symbol"
            " RETURNING id, symbol, price_scale, size_scale"
        )
        values = {"symbol": canonical, "price_scale": price_scale, "size_scale": size_scale}
        with driver_errors_translated():
            return Instrument(*(await self._conn.execute(statement, values)).one())

    async def _keep_details(self, instrument: Instrument, details: Mapping[str, Any]) -> None:
        # Nothing is written, and no writer waited for, as long as the exchange says the same.
        statement = text(
            "UPDATE instruments SET metadata = metadata || CAST(:details AS jsonb)"
            " WHERE id = :id AND NOT metadata @> CAST(:details AS jsonb)"
        )
        with driver_errors_translated():
            await self._conn.execute(statement, {"id": instrument.id, "details": json.dumps(dict(details))})

    async def _refuse(self, symbol: str) -> Instrument:
        known = [instrument.symbol for instrument in await self.list_all()]
        alike = get_close_matches(canonical_symbol(symbol), known)
        hint = f"not registered; did you mean {' or '.join(alike)}?" if alike else "not registered"
        raise InvalidInputError("symbol", symbol, hint + "; `InstrumentRepository.ensure` registers it")


def _check_wide_enough(instrument: Instrument, price_scale: int, size_scale: int) -> None:
    for field, wanted in (("price_scale", price_scale), ("size_scale", size_scale)):
        registered = getattr(instrument, field)
        if registered < wanted:
            hint = f"{instrument.symbol} is registered with {registered}; {LARGER_SCALE}"
            raise ScaleError(field, wanted, hint)
