"""A server that runs until it is stopped, whoever uses it: what `datalayer server` does."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datalayer.config import embedded_address
from datalayer.embedded.control import ask
from datalayer.embedded.layout import DatabaseFolder, ServerRecord
from datalayer.embedded.lock import POLL_INTERVAL_S, is_locked
from datalayer.embedded.private import require_posix, require_private
from datalayer.embedded.session import Session, Wish, end_server, in_use, open_session
from datalayer.embedded.status import EmbeddedStatus, read_status
from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STOP_ANSWER_S = 5.0
RECORD_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class DaemonStart:
    """A server that runs now.

    Attributes:
        pid: its process id.
        folder: its database.
        already_running: it ran before.
        database_url: value for `DATALAYER_DATABASE_URL` on this machine.
        psql: the command that opens a shell on it; over TCP it holds the password.
        tcp_url: address of the TCP port with its password, for other clients; None without TCP, or when the server ran
            before, since only who started it knows the password.
    """

    pid: int
    folder: Path
    already_running: bool
    database_url: str
    psql: str
    tcp_url: str | None


def start_daemon(
    path: Path, cache_dir: Path, *, tcp: bool, on_progress: Callable[[str], None]
) -> DaemonStart:
    """Start a detached server on a folder; idempotent.

    Raises:
        EmbeddedStartError: as `EmbeddedTimescale.start`.
        EmbeddedInUseError: a server runs there that is not what was asked for: one that ends with its last user, or one
            without TCP.
    """
    path = path.expanduser().absolute()
    session = open_session(path, Wish(cache_dir, tcp=tcp, jobs=True, daemon=True, on_progress=on_progress))
    try:
        if session.joined:
            _require_as_wished(session, tcp=tcp)
        return _describe(session, path)
    finally:
        session.close()


def _require_as_wished(session: Session, *, tcp: bool) -> None:
    folder, record = session.folder, session.record
    assert folder is not None  # noqa: S101 - a daemon always has one
    if not record.daemon:
        raise in_use(folder, "ends with the last program that uses it")
    if tcp and record.tcp_port is None:
        raise in_use(folder, "runs without TCP")


def _describe(session: Session, path: Path) -> DaemonStart:
    tcp_url = session.url.replace("+asyncpg", "", 1) if session.password is not None else None
    return DaemonStart(
        pid=session.record.pid,
        folder=path,
        already_running=session.joined,
        database_url=embedded_address(path),
        psql="psql "
        + shlex.quote(tcp_url or f"host={session.record.socket_dir} user=postgres dbname=postgres"),
        tcp_url=tcp_url,
    )


def find_server(path: Path) -> EmbeddedStatus | None:
    """Return the state of the server that runs on a folder, or None if none does.

    Raises:
        EmbeddedInUseError: one runs, or is starting, that cannot be asked.
        EmbeddedStartError: the folder is not ours.
    """
    folder = DatabaseFolder(path.expanduser().absolute())
    record = _find_running(folder)
    try:
        return None if record is None else read_status(record, folder.path)
    except OSError as exc:
        if not is_locked(folder.lock):
            return None
        raise in_use(folder, f"does not answer ({exc.strerror})") from exc


def stop_server(path: Path) -> int | None:
    """Stop the server on a folder in an orderly way, and kill it if it does not end; what was committed is safe.

    Returns:
        Its process id, or None if none ran.

    Raises:
        EmbeddedInUseError: it is just starting, or does not even end when killed.
    """
    folder = DatabaseFolder(path.expanduser().absolute())
    record = _find_running(folder)
    if record is None:
        return None
    try:
        ask(record.socket_dir, "stop", STOP_ANSWER_S)
    except OSError:  # busy with a query, or its sockets were removed
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
    if not end_server(record, folder):
        raise in_use(folder, "does not end")
    return record.pid


def _find_running(folder: DatabaseFolder) -> ServerRecord | None:
    """The record of the server that holds the lock, waiting a moment for one that is just starting or ending."""
    require_posix()
    try:
        is_there = folder.path.exists()
    except OSError as exc:
        msg = f"{folder.path} cannot be looked at: {exc.strerror}; run as its owner"
        raise EmbeddedStartError(msg) from exc
    if is_there:
        require_private(folder.path.resolve())
    deadline = time.monotonic() + RECORD_TIMEOUT_S
    while is_locked(folder.lock):
        record = folder.find_record()
        if record is not None:
            return record
        if time.monotonic() > deadline:
            raise in_use(folder, "cannot be asked yet")
        time.sleep(POLL_INTERVAL_S)
    return None
