"""Two processes, two objects, one folder."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from datalayer.embedded import EmbeddedTimescale, session
from datalayer.embedded.daemon import find_server
from datalayer.embedded.lock import FileLock, wait_until_free
from datalayer.errors import EmbeddedError, EmbeddedInUseError, EmbeddedStartError

if TYPE_CHECKING:
    import subprocess

    from conftest import RunChild

END_S = 20.0
HOLD = """
    import sys
    from datalayer.embedded import EmbeddedTimescale
    with EmbeddedTimescale(sys.argv[1]) as embedded:
        print(embedded.pid, embedded.url.replace("+asyncpg", "", 1), flush=True)
        sys.stdin.read()
    print("left", flush=True)
"""


def _dsn(embedded: EmbeddedTimescale) -> str:
    return embedded.url.replace("+asyncpg", "", 1)


def _read_held(child: subprocess.Popen[str]) -> tuple[int, str]:
    pid, url = child.stdout.readline().split()
    return int(pid), url


def test_a_second_process_joins_and_holds_the_server_after_the_first_left(
    folder: Path, run_child: RunChild
) -> None:
    with run_child(HOLD, folder) as child:
        pid, url = _read_held(child)
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE shared AS SELECT 1 AS n")
        with EmbeddedTimescale(folder) as embedded:
            assert embedded.pid == pid
            assert embedded.status().leases == 2
            child.communicate()
            assert child.returncode == 0
            assert embedded.status().leases == 1
            with psycopg.connect(_dsn(embedded)) as conn:
                assert conn.execute("SELECT n FROM shared").fetchone() == (1,)
    assert find_server(folder) is None


def test_the_first_process_leaves_at_once_while_another_holds_the_server(
    folder: Path, run_child: RunChild
) -> None:
    embedded = EmbeddedTimescale(folder).start()
    with run_child(HOLD, folder) as child:
        pid, url = _read_held(child)
        assert pid == embedded.pid
        embedded.stop()
        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT 42").fetchone() == (42,)
        child.communicate()
    assert find_server(folder) is None


def test_the_server_has_a_terminal_session_of_its_own(server: EmbeddedTimescale) -> None:
    """So that Ctrl-C reaches the application, which then closes the database, and not the database first."""
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_two_objects_in_one_process_share_a_server(folder: Path) -> None:
    first, second = EmbeddedTimescale(folder).start(), EmbeddedTimescale(folder).start()
    assert first.pid == second.pid
    first.stop()
    assert second.status().leases == 1
    second.stop()
    assert find_server(folder) is None


def test_many_threads_starting_at_once_get_one_server(folder: Path) -> None:
    servers = [EmbeddedTimescale(folder) for _ in range(6)]
    threads = [threading.Thread(target=embedded.start) for embedded in servers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({embedded.pid for embedded in servers}) == 1
    assert servers[0].status().leases == len(servers)
    for embedded in servers:
        embedded.stop()
        embedded.stop()
    assert find_server(folder) is None


def test_starting_while_the_last_user_leaves(folder: Path, run_child: RunChild) -> None:
    """Who comes during the end waits for it, and starts anew."""
    with run_child(HOLD, folder) as child:
        _read_held(child)
        child.stdin.close()
        for _ in range(2):
            with EmbeddedTimescale(folder) as embedded, psycopg.connect(_dsn(embedded)) as conn:
                assert conn.execute("SELECT 42").fetchone() == (42,)


def test_it_may_be_started_again(folder: Path) -> None:
    embedded = EmbeddedTimescale(folder)
    with pytest.raises(EmbeddedError, match="not started"):
        _ = embedded.url
    with embedded:
        first = embedded.pid
    with embedded:
        assert embedded.pid != first


async def test_as_an_asynchronous_context_manager(folder: Path) -> None:
    async with EmbeddedTimescale(str(folder)) as embedded:
        assert embedded.path == folder
        embedded.raise_if_dead()
    assert find_server(folder) is None


def test_a_folder_that_cannot_be_joined_is_an_error_that_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "JOIN_TIMEOUT_S", 0.3)
    with (
        FileLock.try_acquire(folder / "lock"),
        pytest.raises(EmbeddedInUseError, match="still starting") as refused,
    ):
        EmbeddedTimescale(folder).start()
    assert str(folder) in str(refused.value)
    assert "datalayer server stop" in str(refused.value)


def test_a_stopped_server_process_is_named_by_its_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "JOIN_TIMEOUT_S", 0.3)
    with EmbeddedTimescale(folder) as embedded:
        os.kill(embedded.pid, signal.SIGSTOP)
        try:
            with pytest.raises(EmbeddedInUseError, match=f"process {embedded.pid} "):
                EmbeddedTimescale(folder).start()
        finally:
            os.kill(embedded.pid, signal.SIGCONT)


def test_joining_with_tcp_is_refused(folder: Path) -> None:
    with EmbeddedTimescale(folder), pytest.raises(EmbeddedInUseError, match="TCP password"):
        EmbeddedTimescale(folder, tcp=True).start()


@pytest.mark.parametrize("kind", ["persistent", "memory"])
def test_killing_the_owner_ends_the_server(folder: Path, run_child: RunChild, kind: str) -> None:
    code = HOLD if kind == "persistent" else HOLD.replace("(sys.argv[1])", "()")
    with run_child(code, folder) as child:
        pid, url = _read_held(child)
        lock = _socket_dir(url) / "lock"
        child.send_signal(signal.SIGKILL)
        assert wait_until_free(lock, END_S)
        with pytest.raises(ProcessLookupError):
            _signal_until_reaped(pid)


def _signal_until_reaped(pid: int) -> None:
    for _ in range(int(END_S / 0.02)):
        os.kill(pid, 0)
        time.sleep(0.02)


def _socket_dir(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def test_what_a_killed_owner_left_is_removed_at_the_next_start(folder: Path, run_child: RunChild) -> None:
    with run_child(HOLD, folder) as child:
        pid, url = _read_held(child)
        left = _socket_dir(url)
        os.kill(pid, signal.SIGKILL)
        child.send_signal(signal.SIGKILL)
        assert wait_until_free(left / "lock", END_S)
    assert left.exists()
    with EmbeddedTimescale(folder):
        assert not left.exists()


def test_an_object_that_nobody_stopped_ends_with_its_last_reference(folder: Path) -> None:
    embedded = EmbeddedTimescale(folder).start()
    assert find_server(folder) is not None
    del embedded
    gc.collect()
    assert find_server(folder) is None


def test_a_program_that_forgets_to_stop_leaves_nothing(folder: Path, run_child: RunChild) -> None:
    code = """
        import sys
        from datalayer.embedded import EmbeddedTimescale
        embedded = EmbeddedTimescale(sys.argv[1]).start()
    """
    with run_child(code, folder) as child:
        _, errors = child.communicate()
    assert (child.returncode, errors) == (0, "")
    assert find_server(folder) is None


def test_a_forked_child_neither_ends_the_server_nor_keeps_it(folder: Path, run_child: RunChild) -> None:
    code = """
        import os, sys
        from datalayer.embedded import EmbeddedTimescale
        embedded = EmbeddedTimescale(sys.argv[1]).start()
        stopped, say_stopped = os.pipe()
        if os.fork() == 0:
            embedded.stop()
            os.write(say_stopped, b"x")
            os.read(0, 1)  # outlives its parent; the parent reads nothing of this
            os._exit(0)
        os.read(stopped, 1)
        print(embedded.status().leases, flush=True)
        embedded.stop()
    """
    with run_child(code, folder) as child:
        assert child.stdout.readline() == "1\n"
        child.wait(END_S)
        assert find_server(folder) is None


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(EmbeddedStartError, match=r"thesis\.txt"):
        EmbeddedTimescale(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedStartError, match="name another one"):
        EmbeddedTimescale(tmp_path / "file").start()


def test_a_damaged_database_is_an_error_that_quotes_the_log(folder: Path) -> None:
    (folder / "cluster" / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(EmbeddedStartError, match="did not start"):
        EmbeddedTimescale(folder).start()
    assert find_server(folder) is None
