"""`datalayer server start | stop | status`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from datalayer.config import parse_database_url
from datalayer.embedded import EmbeddedTimescale
from datalayer.embedded.daemon import find_server, stop_server
from datalayer.embedded.url import embedded_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "import sys; from datalayer.cli import main; sys.argv[:1] = ['datalayer', 'server']; main()"


def _server(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: what it starts must outlive it."""
    command = [sys.executable, "-W", "error", "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def _json(*arguments: object) -> dict[str, Any]:
    run = _server(*arguments, "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture
def daemon(folder: Path) -> Iterator[dict[str, Any]]:
    yield _json("start", "--path", folder)
    stop_server(folder)


def test_it_runs_until_it_is_stopped(folder: Path) -> None:
    try:
        started = _server("start", "--path", folder)
        assert started.returncode == 0, started.stderr
        assert f"export DATALAYER_DATABASE_URL=embedded://{folder}\n" in started.stdout
        with EmbeddedTimescale(folder) as embedded:
            pid = embedded.pid
        again = _server("start", "--path", folder)
        assert (again.returncode, f"already running on {folder} (process {pid})" in again.stdout) == (0, True)
        assert _server("stop", "--path", folder).stdout == (
            f"Stopped the embedded TimescaleDB on {folder} (process {pid}).\n"
        )
        assert find_server(folder) is None
        assert (
            _server("stop", "--path", folder).stdout == f"No embedded TimescaleDB was running on {folder}.\n"
        )
    finally:
        stop_server(folder)


def test_the_printed_addresses_lead_to_it(daemon: dict[str, Any], folder: Path) -> None:
    assert embedded_folder(parse_database_url(daemon["database_url"])) == folder
    if shutil.which("psql"):
        query = subprocess.run(
            [*shlex.split(daemon["psql"]), "-XAtc", "SELECT 42"], capture_output=True, text=True, check=True
        )
        assert query.stdout == "42\n"


def test_tcp_shows_its_password_once(folder: Path) -> None:
    try:
        started = _json("start", "--path", folder, "--tcp")
        with psycopg.connect(started["tcp_url"]) as conn:
            assert conn.execute("SELECT 42").fetchone() == (42,)
        again = _json("start", "--path", folder, "--tcp")
        assert (again["already_running"], again["tcp_url"]) == (True, None)
    finally:
        stop_server(folder)


@pytest.mark.usefixtures("daemon")
def test_tcp_asked_for_later_is_refused(folder: Path) -> None:
    run = _server("start", "--path", folder, "--tcp")
    assert run.returncode != 0
    assert "runs without TCP" in run.stderr


def test_status_shows_the_server_and_its_jobs(daemon: dict[str, Any], folder: Path) -> None:
    with (
        EmbeddedTimescale(folder) as embedded,
        psycopg.connect(embedded.url.replace("+asyncpg", "", 1)) as conn,
    ):
        conn.execute("CREATE PROCEDURE tidy(job_id int, config jsonb) LANGUAGE sql AS 'SELECT 1'")
        conn.execute("SELECT add_job('tidy', interval '1 hour')")
    run = _server("status", "--path", folder)
    assert run.returncode == 0
    for text in (str(daemon["pid"]), "it is stopped", " tidy ", "17.5"):
        assert text in run.stdout
    facts = _json("status", "--path", folder)
    assert (facts["running"], facts["pid"], facts["jobs"][0]["proc"]) == (True, daemon["pid"], "public.tidy")


def test_the_configured_folder_is_the_default(
    daemon: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALAYER_DATABASE_URL", f"embedded://{folder}")
    assert _json("status")["pid"] == daemon["pid"]


def test_status_of_nothing_is_exit_code_3(tmp_path: Path) -> None:
    run = _server("status", "--path", tmp_path / "nowhere")
    assert (run.returncode, run.stdout) == (
        3,
        f"No embedded TimescaleDB is running on {tmp_path / 'nowhere'}.\n",
    )
    assert not (tmp_path / "nowhere").exists()


def test_a_server_that_ends_with_its_users_is_no_daemon(folder: Path) -> None:
    with EmbeddedTimescale(folder) as embedded:
        run = _server("start", "--path", folder)
        assert run.returncode != 0
        assert "ends with the last program that uses it" in run.stderr
        embedded.raise_if_dead()


def test_a_killed_daemon_is_not_running_and_starts_again(daemon: dict[str, Any], folder: Path) -> None:
    os.kill(daemon["pid"], signal.SIGKILL)
    assert _server("status", "--path", folder).returncode == 3
    assert _json("start", "--path", folder)["already_running"] is False


def test_a_daemon_whose_sockets_were_removed_can_be_stopped(daemon: dict[str, Any], folder: Path) -> None:
    shutil.rmtree(find_server(folder).socket_dir)
    run = _server("status", "--path", folder)
    assert run.returncode != 0
    assert f"process {daemon['pid']} and it does not answer" in run.stderr
    assert stop_server(folder) == daemon["pid"]
