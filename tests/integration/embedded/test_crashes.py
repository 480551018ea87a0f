"""Ends that nobody ordered: what was acknowledged is there again, and nobody waits for ever."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from datalayer.embedded import EmbeddedTimescale, process, status
from datalayer.embedded.control import ask
from datalayer.errors import EmbeddedCrashedError, EmbeddedError, EmbeddedStartError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunChild

SEEDS = [1, 2, 3]
WRITE = """
    import sys, psycopg
    first = int(sys.argv[2])
    with psycopg.connect(sys.argv[1]) as conn:
        for n in range(first, 1_000_000):
            conn.execute("INSERT INTO journal SELECT '2024-01-01'::timestamptz + make_interval(secs => i), i FROM "
                "generate_series(%s::bigint, %s) i", [n * 10, n * 10 + 9])
            if n % 20 == 0:
                conn.execute("SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('journal') c")
            if n % 20 == 10:
                conn.execute("INSERT INTO journal VALUES ('2024-01-01', 0) ON CONFLICT DO NOTHING")
            conn.commit()
            print(n, flush=True)  # written down only once the database has acknowledged it
"""
SCHEMA = """
    CREATE TABLE journal (ts timestamptz PRIMARY KEY, n bigint NOT NULL);
    SELECT create_hypertable('journal', 'ts', chunk_time_interval => interval '5 minutes');
    ALTER TABLE journal SET (timescaledb.compress, timescaledb.compress_orderby = 'ts');
"""
COUNT = "SELECT count(*), count(DISTINCT n) FROM journal WHERE n < %s"
COMPRESSED = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"


def _dsn(embedded: EmbeddedTimescale) -> str:
    return embedded.url.replace("+asyncpg", "", 1)


def test_kill_9_while_writing_loses_no_acknowledged_row(folder: Path, run_child: RunChild) -> None:
    """Again and again on one folder, compression and writes into compressed chunks going on."""
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded), autocommit=True) as conn:
        conn.execute(SCHEMA)
    acknowledged = -1
    for seed in SEEDS:
        with EmbeddedTimescale(folder) as embedded:
            with run_child(WRITE, _dsn(embedded), acknowledged + 1) as writer:
                assert writer.stdout.readline(), writer.stderr.read()
                time.sleep(random.Random(seed).uniform(0.2, 1.0))  # noqa: S311 - a moment, no secret
                os.kill(embedded.pid, signal.SIGKILL)
                journal = writer.communicate()[0].split()
            acknowledged = int(journal[-1])
            with pytest.raises(EmbeddedCrashedError, match="exit code -9"):
                embedded.raise_if_dead()
        with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded)) as conn:
            rows = (acknowledged + 1) * 10
            assert conn.execute(COUNT, [rows]).fetchone() == (rows, rows)
            # the batch in flight may have been committed before it could be acknowledged; it is whole or absent
            beyond = conn.execute("SELECT count(*) FROM journal WHERE n >= %s", [rows]).fetchone()[0]
            assert beyond in {0, 10}
            acknowledged += beyond // 10
            assert conn.execute(COMPRESSED).fetchone()[0] > 0


def test_compressed_rows_are_visible_after_an_orderly_end(folder: Path) -> None:
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded), autocommit=True) as conn:
        conn.execute(SCHEMA)
        conn.execute(
            "INSERT INTO journal SELECT '2024-01-01'::timestamptz + make_interval(secs => i), i"
            " FROM generate_series(0, 4999) i"
        )
        conn.execute("SELECT compress_chunk(c) FROM show_chunks('journal') c")
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded), autocommit=True) as conn:
        conn.execute("INSERT INTO journal VALUES ('2024-01-01 12:00', 5000)")
        assert conn.execute("SELECT count(*), sum(n) FROM journal").fetchone() == (5001, 12_502_500)
        assert conn.execute(COMPRESSED).fetchone()[0] > 0


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bridge crash on request."""
    monkeypatch.setenv("DATALAYER_EMBEDDED_TEST", "1")


@pytest.mark.usefixtures("fragile")
async def test_a_crash_of_the_webassembly_is_an_error_everywhere_and_no_hang(folder: Path) -> None:
    with EmbeddedTimescale(folder) as embedded, EmbeddedTimescale(folder) as joined:
        conn, waiting = await asyncpg.connect(_dsn(embedded)), await asyncpg.connect(_dsn(embedded))
        await conn.execute("CREATE TABLE before_crash AS SELECT 1 AS n")
        async with asyncpg.create_pool(_dsn(embedded), min_size=1) as pool:
            _crash(embedded)
            for client in (conn, waiting, pool):
                with pytest.raises(
                    (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
                ):
                    await client.fetchval("SELECT 1")
        for server in (embedded, joined):
            with pytest.raises(
                EmbeddedCrashedError, match=r"exit code 70.*what was committed is in the folder"
            ):
                server.raise_if_dead()
            with pytest.raises(EmbeddedCrashedError):
                server.status()
            with pytest.raises(EmbeddedCrashedError):
                server.run_due_jobs()
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded)) as conn:
        assert conn.execute("SELECT n FROM before_crash").fetchone() == (1,)


def _crash(embedded: EmbeddedTimescale) -> None:
    ask(embedded.status().socket_dir, "crash", 10.0)


@pytest.mark.usefixtures("fragile")
def test_a_crash_in_memory_quotes_the_log() -> None:
    with EmbeddedTimescale() as embedded:
        _crash(embedded)
        with pytest.raises(EmbeddedCrashedError, match=r"(?s)exit code 70; start it again\..*crashed"):
            _wait_until_dead(embedded)


def _wait_until_dead(embedded: EmbeddedTimescale) -> None:
    for _ in range(500):
        embedded.raise_if_dead()
        time.sleep(0.02)


def test_crashing_is_not_offered_outside_tests(server: EmbeddedTimescale) -> None:
    with pytest.raises(EmbeddedError, match="refused 'crash'"):
        _crash(server)
    server.raise_if_dead()


def test_endless_recursion_ends_in_an_error(folder: Path) -> None:
    recursion = "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN f($1 + 1); END'"
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded), autocommit=True) as conn:
        conn.execute(recursion)
        with pytest.raises(psycopg.Error):
            conn.execute("SELECT f(1)")
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded)) as conn:
        assert conn.execute("SELECT count(*) FROM pg_proc WHERE proname = 'f'").fetchone() == (1,)


def test_a_fatal_error_of_postgresql_says_so(folder: Path) -> None:
    other_version = "UPDATE pg_extension SET extversion = '2.17.2' WHERE extname = 'timescaledb'"
    with EmbeddedTimescale(folder) as embedded:
        with psycopg.connect(_dsn(embedded), autocommit=True) as conn:
            conn.execute(other_version)
            with pytest.raises(psycopg.Error, match="already loaded with a different version"):
                conn.execute("SELECT count(*) FROM pg_class")
        with pytest.raises(
            EmbeddedCrashedError, match=r"exit code 70(?s:.*)ended its session by a fatal error"
        ):
            _wait_until_dead(embedded)


def test_a_kill_while_the_database_is_being_made_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    def kill(step: str) -> None:
        if step == "creating the database":
            time.sleep(1.0)
            list(process._children.values())[-1].kill()

    with pytest.raises(EmbeddedStartError, match="exit code -9"):
        EmbeddedTimescale(tmp_path, on_progress=kill).start()
    with EmbeddedTimescale(tmp_path) as embedded, psycopg.connect(_dsn(embedded)) as conn:
        assert conn.execute("SELECT 42").fetchone() == (42,)


def test_an_endless_query_does_not_hold_up_the_end(
    folder: Path, run_child: RunChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORDERLY_END_S", "TERMINATE_S"):
        monkeypatch.setattr(process, name, 0.5)
    monkeypatch.setattr(status, "STATUS_TIMEOUT_S", 0.5)
    code = """
        import sys, psycopg
        with psycopg.connect(sys.argv[1]) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 1 AS n")
            conn.commit()
            print("running", flush=True)
            conn.execute("SELECT count(*) FROM generate_series(1, 1e12::bigint)")
    """
    with EmbeddedTimescale(folder) as embedded, run_child(code, _dsn(embedded)) as child:
        assert child.stdout.readline() == "running\n"
        while (found := embedded.status()).answered:
            time.sleep(0.02)
        assert (found.pid, found.busy, found.clients) == (embedded.pid, True, None)
        embedded.stop()
        assert "OperationalError" in child.communicate()[1]
    with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded)) as conn:
        assert conn.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_start_that_takes_too_long_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT_S", 0.0)
    with pytest.raises(EmbeddedStartError, match="not ready within"):
        EmbeddedTimescale(folder).start()
    monkeypatch.undo()
    with EmbeddedTimescale(folder) as embedded:  # the process that was given up is gone, and its lock with it
        embedded.raise_if_dead()
