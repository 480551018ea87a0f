"""Duplicates are impossible: the keys refuse them, in compressed chunks too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.sample_rows import fill_every_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("table", ["candles", "trades", "order_books", "order_book_imbalances"])
async def test_the_keys_refuse_duplicates(conn: AsyncConnection, table: str, *, is_compressed: bool) -> None:
    await fill_every_table(conn)
    if is_compressed:
        await conn.execute(text(f"SELECT compress_chunk(show_chunks('{table}'))"))
    before = await conn.scalar(text(f"SELECT count(*) FROM {table}"))
    for again in ("ORDER BY ts LIMIT 1", "ORDER BY ts DESC LIMIT 1", ""):
        with pytest.raises(IntegrityError, match="duplicate key"):
            async with conn.begin_nested():
                await conn.execute(text(f"INSERT INTO {table} SELECT * FROM {table} {again}"))
    assert await conn.scalar(text(f"SELECT count(*) FROM {table}")) == before
