"""Binary COPY against a real server: our stream is the server's own, byte by byte."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from datalayer.db.copy_columns import Column
from datalayer.db.copy_encode import encode_copy
from datalayer.db.copy_transfer import copy_in, copy_out, driver_connection
from datalayer.errors import DatabaseError, DatabaseUnavailableError, InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE = """
    CREATE TEMPORARY TABLE kinds
        (a int2, b int4, c int8, d float8, e timestamptz, f int8[] NOT NULL, g int8[] NOT NULL) ON COMMIT DROP
"""
TYPES = {
    "a": "int2",
    "b": "int4",
    "c": "int8",
    "d": "float8",
    "e": "timestamptz",
    "f": "int8[]",
    "g": "int8[]",
}
int8 = st.integers(-(2**63), 2**63 - 1)
rows_of_all_kinds = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**15), 2**15 - 1),
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | int8,
        st.none() | st.floats(allow_nan=False),
        st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
        st.lists(int8, max_size=4),
        st.lists(int8, max_size=3),
    ),
    max_size=20,
)


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_all_kinds)
async def test_our_stream_is_that_of_the_server_byte_by_byte(conn: AsyncConnection, rows: list[Any]) -> None:
    driver = await driver_connection(conn)
    await driver.execute("DROP TABLE IF EXISTS kinds;" + TABLE)
    await driver.copy_records_to_table("kinds", records=rows)
    theirs = bytearray()

    async def gather(data: bytes) -> None:
        theirs.extend(data)

    await driver.copy_from_query("SELECT * FROM kinds", output=gather, format="binary")
    ours = b"".join(encode_copy(columns_of(rows), rows_per_piece=7))
    assert ours == bytes(theirs)

    await driver.execute("TRUNCATE kinds")
    await copy_in(conn, "kinds", columns_of(rows), schema="pg_temp", rows_per_piece=7)
    assert [tuple(row) for row in await driver.fetch("SELECT * FROM kinds")] == rows


def columns_of(rows: list[Any]) -> list[Column]:
    dtypes = {
        "int2": np.int16,
        "int4": np.int32,
        "int8": np.int64,
        "float8": np.float64,
        "timestamptz": np.int64,
    }
    columns = []
    for position, (name, pg_type) in enumerate(TYPES.items()):
        cells = [row[position] for row in rows]
        if pg_type == "int8[]":
            lengths = np.array([len(cell) for cell in cells], dtype=np.int64)
            data = np.zeros((len(cells), max(lengths, default=0)), dtype=np.int64)
            for row, cell in enumerate(cells):
                data[row, : len(cell)] = cell
            columns.append(Column(name, pg_type, data, lengths=lengths))
            continue
        plain = [microseconds(cell) if pg_type == "timestamptz" else cell for cell in cells]
        data = np.array([0 if cell is None else cell for cell in plain], dtype=dtypes[pg_type])
        data = data.view("datetime64[us]") if pg_type == "timestamptz" else data
        columns.append(
            Column(name, pg_type, data, np.array([cell is not None for cell in cells], dtype=bool))
        )
    return columns


def microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


async def test_an_infinite_time_from_the_server_is_refused(conn: AsyncConnection) -> None:
    with pytest.raises(DatabaseError, match="ts is infinite in row 0"):
        await copy_out(conn, "SELECT timestamptz 'infinity'", {"ts": "timestamptz"})


async def test_a_server_error_is_ours_with_sqlstate_and_cause(conn: AsyncConnection) -> None:
    with pytest.raises(DatabaseError, match='relation "nowhere" does not exist') as refused:
        await copy_out(conn, "SELECT 1 FROM nowhere", {"n": "int4"})
    assert refused.value.sqlstate == "42P01"
    assert "datalayer db upgrade" in str(refused.value)
    assert refused.value.__cause__ is not None
    assert not isinstance(refused.value, DatabaseUnavailableError)


async def test_a_refused_row_leaves_nothing_and_names_the_constraint(engine: AsyncEngine) -> None:
    columns = [Column("n", "int4", np.array([1, -1]))]
    async with engine.connect() as conn:
        await conn.execute(
            text("CREATE TEMPORARY TABLE positive (n int4 CONSTRAINT above_zero CHECK (n > 0))")
        )
        await conn.commit()
        with pytest.raises(DatabaseError, match="above_zero") as refused:
            await copy_in(conn, "positive", columns)
        assert refused.value.sqlstate == "23514"
        await conn.rollback()
        assert await conn.scalar(text("SELECT count(*) FROM positive")) == 0
        await conn.execute(text("DROP TABLE positive"))
        await conn.commit()


async def test_the_first_thing_in_a_transaction_may_be_a_copy(engine: AsyncEngine) -> None:
    """SQLAlchemy begins lazily: a COPY before its first statement would otherwise commit by itself."""
    async with engine.begin() as conn:
        await conn.execute(text("CREATE TEMPORARY TABLE kept (n int4)"))
    async with engine.connect() as conn:
        await conn.execute(text("CREATE TEMPORARY TABLE IF NOT EXISTS kept (n int4)"))
        await conn.commit()
        await copy_in(conn, "kept", [Column("n", "int4", np.array([1]))])
        await conn.rollback()
        assert await conn.scalar(text("SELECT count(*) FROM kept")) == 0
        await conn.execute(text("DROP TABLE kept"))
        await conn.commit()


async def test_autocommit_is_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        auto = await conn.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(InvalidInputError, match="open a transaction"):
            await copy_in(auto, "candles", [Column("n", "int4", np.array([1]))])


@pytest.mark.native
async def test_a_lost_connection_is_unavailable(engine: AsyncEngine) -> None:
    """Often enough to meet the driver in each of the states in which the end can reach it."""
    for _ in range(30):
        async with engine.connect() as conn, engine.connect() as other:
            backend = await conn.scalar(text("SELECT pg_backend_pid()"))
            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backend})
            with pytest.raises(DatabaseUnavailableError):
                await copy_out(conn, "SELECT 1", {"n": "int4"})
            assert conn.invalidated


@pytest.mark.native
async def test_a_cancelled_copy_does_not_leave_its_connection_in_the_pool(engine: AsyncEngine) -> None:
    async def read_for_long() -> None:
        async with engine.begin() as conn:
            await copy_out(conn, "SELECT 1 FROM pg_sleep(600)", {"n": "int4"})

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_for_long(), 0.2)
    async with engine.connect() as conn:
        columns = await copy_out(conn, "SELECT 7", {"n": "int4"})
    assert columns["n"].data.tolist() == [7]
