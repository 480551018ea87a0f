"""COPY in both directions, and what happens when it goes wrong."""

from __future__ import annotations

import asyncio
import io

import asyncpg
import pytest

ROWS = [
    (number, f"text {number}\t\\N\n", None if number % 7 == 0 else number / 3) for number in range(20_000)
]


@pytest.fixture
async def conn(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "DROP TABLE IF EXISTS copied; CREATE TABLE copied (a int PRIMARY KEY, b text, c float8)"
    )
    yield connection
    await connection.close()


async def test_binary_both_ways(conn: asyncpg.Connection) -> None:
    assert await conn.copy_records_to_table("copied", records=ROWS) == f"COPY {len(ROWS)}"
    out = io.BytesIO()
    await conn.copy_from_query("SELECT * FROM copied ORDER BY a", output=out, format="binary")
    await conn.execute("TRUNCATE copied")
    out.seek(0)
    await conn.copy_to_table("copied", source=out, format="binary")
    assert [tuple(row) for row in await conn.fetch("SELECT * FROM copied ORDER BY a")] == ROWS


async def test_text_both_ways(conn: asyncpg.Connection) -> None:
    await conn.copy_records_to_table("copied", records=ROWS)
    out = io.BytesIO()
    await conn.copy_from_table("copied", output=out)
    await conn.execute("TRUNCATE copied")
    out.seek(0)
    await conn.copy_to_table("copied", source=out)
    assert [tuple(row) for row in await conn.fetch("SELECT * FROM copied ORDER BY a")] == ROWS


async def test_copies_of_two_clients_at_once(dsn: str, conn: asyncpg.Connection) -> None:
    other = await asyncpg.connect(dsn)
    await asyncio.gather(
        conn.copy_records_to_table("copied", records=ROWS[:10_000]),
        other.copy_records_to_table("copied", records=ROWS[10_000:]),
    )
    assert await other.fetchval("SELECT count(*) FROM copied") == len(ROWS)
    await other.close()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([*ROWS[:3], ROWS[0]], asyncpg.UniqueViolationError),
        ([(1, "nul \0", None)], asyncpg.CharacterNotInRepertoireError),
    ],
)
async def test_a_bad_copy_is_an_error_and_leaves_nothing(
    conn: asyncpg.Connection, bad: list[tuple[object, ...]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await conn.copy_records_to_table("copied", records=bad)
    assert await conn.fetchval("SELECT count(*) FROM copied") == 0


async def test_a_bad_text_line_names_the_line(conn: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.InvalidTextRepresentationError) as refused:
        await conn.copy_to_table("copied", source=io.BytesIO(b"1\tx\t1\noops\tx\t1\n"))
    assert "line 2" in refused.value.context
    assert await conn.fetchval("SELECT count(*) FROM copied") == 0


async def test_a_copy_given_up_by_the_client_leaves_nothing(conn: asyncpg.Connection) -> None:
    class GivenUpError(Exception):
        pass

    async def rows():  # noqa: ANN202
        yield ROWS[0]
        raise GivenUpError

    with pytest.raises(GivenUpError):
        await conn.copy_records_to_table("copied", records=rows())
    assert await conn.fetchval("SELECT count(*) FROM copied") == 0


async def test_a_copy_into_no_table_is_refused(conn: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await conn.copy_records_to_table("nowhere", records=ROWS[:10])
    assert await conn.fetchval("SELECT 42") == 42
