"""Which statements a reader sends, how long it waits for each, and how much of that the server plans and executes."""

from __future__ import annotations

import re
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import asyncpg
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

Sent = list[tuple[str, float]]
"""Statements in their order, with the milliseconds until they were answered."""

_RELATION = re.compile(r"\b(?:FROM|JOIN) (?:\w+\.)?(?!LATERAL)(\w+)")


@contextmanager
def statements_of(engine: AsyncEngine) -> Iterator[Sent]:
    """Give the statements that go through an engine meanwhile, and the bulk reads beside it."""
    sent: Sent = []
    began: list[float] = []
    really = asyncpg.Connection.copy_from_query

    async def copy_from_query(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        answer = await really(self, query, *args, **kwargs)
        sent.append((query, (time.perf_counter() - begin) * 1e3))
        return answer

    def before(*_: Any) -> None:
        began.append(time.perf_counter())

    def after(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append((statement, (time.perf_counter() - began.pop()) * 1e3))

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)
    with patch.object(asyncpg.Connection, "copy_from_query", copy_from_query):
        yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", before)
    event.remove(engine.sync_engine, "after_cursor_execute", after)


async def statement_table(conn: AsyncConnection, answers: list[Sent]) -> str:
    """Return a table of what each answer waited for, medians over answers that sent the same statements."""
    lines = ["| statement on | ms | planning, ms | execution, ms |", "|---|---:|---:|---:|"]
    for place, (query, _) in enumerate(answers[-1]):
        waited = statistics.median(sent[place][1] for sent in answers if len(sent) == len(answers[-1]))
        server = [f"{ms:.2f}" async for ms in _on_the_server(conn, query)]
        lines.append(f"| {_relations(query)} | {waited:.2f} | {' | '.join(server or ['', ''])} |")
    return "\n".join(lines)


async def _on_the_server(conn: AsyncConnection, query: str) -> AsyncIterator[float]:
    if "$1" in query:
        return
    runs = []
    for _ in range(5):
        plan = "\n".join(row[0] for row in await conn.exec_driver_sql(f"EXPLAIN (ANALYZE, SUMMARY) {query}"))
        runs.append(
            [float(ms) for ms in re.findall(r"^(?:Planning|Execution) Time: (\S+) ms", plan, re.MULTILINE)]
        )
    for times in zip(*runs, strict=True):
        yield statistics.median(times)


def _relations(query: str) -> str:
    found = [re.sub(r"_materialized_hypertable_\d+", "aggregates", name) for name in _RELATION.findall(query)]
    # Each bulk read looks up the scales of its instrument.
    return ", ".join(dict.fromkeys(name for name in found if name != "instruments")) or "instruments"
