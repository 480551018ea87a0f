"""Widening the scales of an instrument: all its history is rewritten in one transaction.

Nothing is committed half-way, so nothing has to be taken up again: an interrupted run leaves everything as it was, and
is repeated from the start. Why, and what it costs: ADR 0008.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.steps import check_scale
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.rescale_columns import RELATIONS
from datalayer.repositories.rescale_relation import RelationRewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.rescale_columns import Unit
    from datalayer.repositories.rescale_relation import OnProgress

LOCK_TIMEOUT_S: Final = 60.0

# A client that froze must not hold writers back for ever; of one that is gone the server hears by itself.
_IDLE_LIMIT_MS: Final = 300_000
_LIMITS: Final = text("""
    SELECT set_config('lock_timeout', CAST(:lock_timeout_ms AS text), true), set_config('statement_timeout', '0', true),
           set_config('idle_in_transaction_session_timeout', CAST(:idle_limit_ms AS text), true),
           set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)
""")
_MATERIALISED: Final = text("""
    SELECT view_name, format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) AS storage
    FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()
""")


@dataclass(frozen=True, slots=True)
class Widened:
    """What a widening did.

    Attributes:
        before: the instrument as it was.
        after: the instrument as it is when the transaction is committed.
        rows: rewritten rows by relation; empty if the scales were those already.
    """

    before: Instrument
    after: Instrument
    rows: Mapping[str, int]


async def widen_scales(
    conn: AsyncConnection,
    symbol: str,
    *,
    price_scale: int | None = None,
    size_scale: int | None = None,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    on_progress: OnProgress | None = None,
) -> Widened:
    """Give an instrument more decimals, and rewrite all its rows to match, materialised aggregates included.

    All or nothing, in the caller's transaction: readers see the old scales with the old rows until it commits, and the
    new ones with the new rows after. From the first moment on writers of this instrument wait until it ends; writers of
    others do not, nor do readers. Refreshes of the aggregates wait too. May be repeated: what is done is not done again.

    Args:
        conn: connection in a transaction at READ COMMITTED, best a new one. Its role owns the tables.
        symbol: a registered instrument, in any known spelling.
        price_scale: decimal digits of a price, up to 18; None: as it is.
        size_scale: decimal digits of a size; None: as it is.
        lock_timeout_s: how long to wait for writers, and for jobs that are at work on the same tables.
        on_progress: called before each chunk.

    Returns:
        The instrument before and after, and how many rows were rewritten.

    Raises:
        ScaleError: a scale is smaller than the present one; or a value would exceed what its column may hold, which is
            2**53 steps, or 2**63-1 for a sum: names relation, column, value and row. Nothing is changed.
        InvalidInputError: symbol unknown, scale out of range, or the transaction is of another isolation level.
        DatabaseError: a lock was not free in time, or rows changed meanwhile by a writer that takes no lock on the
            instrument. Roll back; nothing is changed then.
    """
    with driver_errors_translated():
        before = await _locked(conn, symbol, lock_timeout_s)
        after = _widened(before, price_scale, size_scale)
        if after == before:
            return Widened(before, after, {})
        parts = await _parts(conn, before, after)
        held = [await part.held() for part in parts]
        for part in parts:
            await part.check_limits()
        await _set_scales(conn, after)
        for part, found in zip(parts, held, strict=True):
            if found.rows:
                await part.rewrite(on_progress)
        for part, found in zip(parts, held, strict=True):
            await part.check_rewritten(found)
    return Widened(before, after, {p.relation.name: found.rows for p, found in zip(parts, held, strict=True)})


async def _locked(conn: AsyncConnection, symbol: str, lock_timeout_s: float) -> Instrument:
    isolation = await conn.scalar(text("SELECT current_setting('transaction_isolation')"))
    # With one snapshot from the start, the transaction would not see what the last writers wrote.
    if isolation != "read committed":
        raise InvalidInputError("conn", isolation, "use a transaction at READ COMMITTED")
    limits = {"lock_timeout_ms": str(round(lock_timeout_s * 1000)), "idle_limit_ms": str(_IDLE_LIMIT_MS)}
    await conn.execute(_LIMITS, limits)
    return await InstrumentRepository(conn).get_for_change(symbol)


def _widened(before: Instrument, price_scale: int | None, size_scale: int | None) -> Instrument:
    wanted = {"price_scale": price_scale, "size_scale": size_scale}
    for field, scale in wanted.items():
        if scale is None:
            continue
        check_scale(scale, field)
        if scale < (present := getattr(before, field)):
            hint = (
                f"{before.symbol} has {present}; a scale is never narrowed: digits that its rows have, or that its feed "
                "sends tomorrow, could not be held any more"
            )
            raise ScaleError(field, scale, hint)
    return replace(
        before,
        price_scale=before.price_scale if price_scale is None else price_scale,
        size_scale=before.size_scale if size_scale is None else size_scale,
    )


async def _parts(conn: AsyncConnection, before: Instrument, after: Instrument) -> list[RelationRewrite]:
    """Return what is to be rewritten, with the aggregates locked against refreshes.

    A refresh that had read the source before would write its rows, in old steps, after.
    """
    factors: dict[Unit, int] = {
        "price": 10 ** (after.price_scale - before.price_scale),
        "size": 10 ** (after.size_scale - before.size_scale),
    }
    storage = {row.view_name: row.storage for row in await conn.execute(_MATERIALISED)}
    for relation in RELATIONS:
        if relation.is_aggregate:
            await conn.execute(text(f"LOCK TABLE {storage[relation.name]} IN SHARE ROW EXCLUSIVE MODE"))
    return [
        RelationRewrite(conn, storage.get(r.name, r.name), r.changed(factors), before, factors)
        for r in RELATIONS
    ]


async def _set_scales(conn: AsyncConnection, after: Instrument) -> None:
    # The guard of the instruments lets the change pass for whoever says that the rows are rewritten with it.
    allow = text("SELECT set_config('datalayer.rescaling', :symbol, true)")
    await conn.execute(allow, {"symbol": after.symbol})
    update = text("UPDATE instruments SET price_scale = :price, size_scale = :size WHERE id = :id")
    values = {"price": after.price_scale, "size": after.size_scale, "id": after.id}
    await conn.execute(update, values)
    await conn.execute(allow, {"symbol": ""})
