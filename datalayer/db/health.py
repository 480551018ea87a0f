"""Asking a database how it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_QUESTION = text("SELECT current_setting('server_version'), current_setting('transaction_read_only') = 'on'")


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """Whether a database answers, through the pool, as an application meets it.

    Attributes:
        answers: whether it did.
        latency_s: seconds until the answer, or until it was given up; the wait for a connection is in it.
        read_only: whether it refuses writes, as a standby does; None when it did not answer.
        server_version: version of PostgreSQL; None when it did not answer.
        reason: why there is no answer; None when there is one.
    """

    answers: bool
    latency_s: float
    read_only: bool | None = None
    server_version: str | None = None
    reason: str | None = None


async def check_health(engine: AsyncEngine, timeout_s: float) -> DatabaseHealth:
    """Ask the database behind `engine`, and take whatever it does for an answer.

    Args:
        engine: of an open database.
        timeout_s: seconds after which no answer is one too.
    """
    started = monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            with driver_errors_translated():
                async with engine.connect() as conn:
                    version, read_only = (await conn.execute(_QUESTION)).one()
    except (DatabaseError, TimeoutError) as exc:
        reason = str(exc) or f"no answer in {timeout_s:g} s"
        return DatabaseHealth(answers=False, latency_s=monotonic() - started, reason=reason)
    return DatabaseHealth(
        answers=True, latency_s=monotonic() - started, read_only=read_only, server_version=version
    )
