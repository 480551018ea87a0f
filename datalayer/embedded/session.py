"""Start a server or join the running one, and let go of it again."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from datalayer.embedded.control import Lease
from datalayer.embedded.layout import DatabaseFolder, ServerRecord, last_lines
from datalayer.embedded.lock import POLL_INTERVAL_S, FileLock
from datalayer.embedded.node import get_node
from datalayer.embedded.private import LOCK_NAME, create_socket_folder, require_posix, require_private
from datalayer.embedded.process import (
    KILL_S,
    ORDERLY_END_S,
    START_TIMEOUT_S,
    TERMINATE_S,
    BridgeProcess,
    end_process,
    find_child,
)
from datalayer.embedded.runtime import BRIDGE, ensure_runtime
from datalayer.errors import EmbeddedCrashedError, EmbeddedError, EmbeddedInUseError, EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JOIN_TIMEOUT_S: Final = START_TIMEOUT_S
LEASE_TIMEOUT_S: Final = 10.0
_END_TIMEOUT_S: Final = ORDERLY_END_S + TERMINATE_S + KILL_S
_PASSWORD_VARIABLE: Final = "DATALAYER_EMBEDDED_PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class Wish:
    """How a server is to be started.

    Attributes:
        cache_dir: where the runtime is installed.
        tcp: listen on a loopback port too, with a generated password.
        jobs: run due jobs by itself, not only when asked.
        daemon: run until stopped, not until the last lease is given back.
        on_progress: told each step in words.
    """

    cache_dir: Path
    tcp: bool
    jobs: bool
    daemon: bool
    on_progress: Callable[[str], None]


@dataclass(slots=True)
class Session:
    """A share in a running server.

    Attributes:
        record: the server.
        folder: its database, or None when it is in memory.
        lease: keeps it running.
        users: our share of the lock by which the last user is known; None when in memory.
        process: the server's process if this process started it, else None.
        password: of the TCP port; None when there is none or another process chose it.
        joined: another session had started the server.
    """

    record: ServerRecord
    folder: DatabaseFolder | None
    lease: Lease
    users: FileLock | None
    process: BridgeProcess | None
    password: str | None
    joined: bool
    _opened_by_pid: int = field(default_factory=os.getpid)
    _is_closed: bool = False

    @property
    def url(self) -> str:
        """The address for SQLAlchemy; holds the password when it is a TCP address."""
        if self.password is not None:
            return f"postgresql+asyncpg://postgres:{self.password}@127.0.0.1:{self.record.tcp_port}/postgres"
        return f"postgresql+asyncpg://postgres@/postgres?host={quote(str(self.record.socket_dir))}"

    @property
    def log(self) -> Path:
        """What the server wrote to standard error."""
        return _log_of(self.folder, self.record.socket_dir)

    def raise_if_dead(self) -> None:
        """Raise if the server is gone.

        Raises:
            EmbeddedCrashedError: names the exit code, where it is known, and the last lines of the log.
        """
        if not self.lease.is_broken():
            return
        code = self.process.exit_code(wait_s=KILL_S) if self.process is not None else None
        how = (
            ""
            if code is None
            else f" with exit code {code}" + (" (somebody stopped it)" if code == 0 else "")
        )
        after = (
            "start it again" if self.folder is None else "start it again: what was committed is in the folder"
        )
        msg = (
            f"the embedded TimescaleDB, process {self.record.pid}, ended{how}; {after}.{last_lines(self.log)}"
        )
        raise EmbeddedCrashedError(msg)

    def close(self) -> None:
        """Give the lease back and, as its last user, see the server end. May be called again."""
        if self._is_closed or os.getpid() != self._opened_by_pid:
            return
        self._is_closed = True
        self.lease.release()
        if self.users is not None:
            self.users.forget()
        if not self.record.daemon:
            self._end_if_last()
        find_child(self.record.pid)

    def _end_if_last(self) -> None:
        if self.folder is None:
            end_server(self.record, None)
            return
        try:
            last = FileLock.try_acquire(self.folder.users)
        except FileNotFoundError:
            return  # somebody removed the folder under the server, which ends by itself
        if last is not None:  # held until the end: who comes now waits, and then starts a new server
            with last:
                end_server(self.record, self.folder)


def open_session(path: Path | None, wish: Wish) -> Session:
    """Start a server on a folder or join the one that runs there; in memory (None) always a new one.

    Raises:
        EmbeddedStartError: no Node.js, no runtime, an unusable folder, or the server did not get ready.
        EmbeddedInUseError: another process holds the folder and did not let this one join in time.
    """
    require_posix()
    runtime = ensure_runtime(wish.cache_dir.absolute(), wish.on_progress)
    if path is None:
        return _launch(None, None, None, runtime, wish)
    folder = DatabaseFolder(path)
    folder.prepare()
    users = FileLock.acquire(folder.users, _END_TIMEOUT_S, shared=True)
    if users is None:
        msg = f"{path} is being closed by another process, which does not come to an end; try again"
        raise EmbeddedInUseError(msg)
    try:
        return _start_or_join(folder, users, runtime, wish)
    except BaseException:
        users.forget()
        raise


def _start_or_join(folder: DatabaseFolder, users: FileLock, runtime: Path, wish: Wish) -> Session:
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while True:
        lock = FileLock.try_acquire(folder.lock)
        if lock is not None:
            folder.record.unlink(missing_ok=True)  # first: it names a process that has ended
            return _launch(folder, lock, users, runtime, wish)
        session = _try_join(folder, users, deadline - time.monotonic(), wish)
        if session is not None:
            return session
        if time.monotonic() > deadline:
            raise in_use(folder, f"did not let this process join within {JOIN_TIMEOUT_S:.0f} s")
        time.sleep(POLL_INTERVAL_S)


def _try_join(folder: DatabaseFolder, users: FileLock, timeout_s: float, wish: Wish) -> Session | None:
    """Join, or return None while there is nobody to join yet (or any more)."""
    record = folder.find_record()
    if record is None:
        return None
    try:
        require_private(record.socket_dir)
        lease = Lease.take(record.socket_dir, max(timeout_s, POLL_INTERVAL_S))
    except (OSError, EmbeddedError):
        return None
    if wish.tcp and not wish.daemon:
        lease.release()
        raise in_use(folder, "alone knows its TCP password; join it without tcp")
    return Session(record, folder, lease, users, find_child(record.pid), password=None, joined=True)


def in_use(folder: DatabaseFolder, reason: str) -> EmbeddedInUseError:
    """Return the error for a folder that another process holds."""
    record = folder.find_record()
    holder = "another process, which is still starting," if record is None else f"process {record.pid}"
    return EmbeddedInUseError(
        f"{folder.path} is held by {holder} and it {reason}; wait for it, stop it"
        f" (datalayer server stop --path {folder.path}) or use another folder"
    )


def _launch(
    folder: DatabaseFolder | None, lock: FileLock | None, users: FileLock | None, runtime: Path, wish: Wish
) -> Session:
    socket_dir, socket_lock = create_socket_folder(outlives_login=wish.daemon)
    password = secrets.token_urlsafe(24) if wish.tcp else None
    locks = [held for held in (lock, socket_lock) if held is not None]
    process = None
    try:
        if folder is not None:
            folder.rotate_log()
        process = BridgeProcess(
            _command(folder, socket_dir, runtime, wish),
            output=socket_dir / "output",
            log=_log_of(folder, socket_dir),
            environment={} if password is None else {_PASSWORD_VARIABLE: password},
            keep_fds=[held.fd for held in locks],
        )
        record, lease = _settle(process, folder, socket_dir, wish)
    except BaseException as exc:
        if process is not None:
            process.kill()
        shutil.rmtree(socket_dir, ignore_errors=True)
        if isinstance(exc, OSError):
            msg = f"the embedded TimescaleDB did not start: {exc}"
            raise EmbeddedStartError(msg) from exc
        raise
    finally:
        for held in locks:
            held.forget()  # the bridge has its own copies: the kernel frees the locks when it ends, however it ends
    return Session(record, folder, lease, users, process, password, joined=False)


def _settle(
    process: BridgeProcess, folder: DatabaseFolder | None, socket_dir: Path, wish: Wish
) -> tuple[ServerRecord, Lease]:
    ready = process.await_ready(wish.on_progress)
    record = ServerRecord(process.pid, socket_dir, ready.tcp_port, wish.daemon, datetime.now(UTC))
    lease = Lease.take(socket_dir, LEASE_TIMEOUT_S)
    if folder is not None:
        folder.write_record(record)
    return record, lease


def _command(folder: DatabaseFolder | None, socket_dir: Path, runtime: Path, wish: Wish) -> list[str]:
    node = get_node(with_npm=False)
    command = [str(node.executable), "--stack-size=4000", str(BRIDGE / "src" / "main.mjs")]
    command += ["--runtime", str(runtime), "--socket-dir", str(socket_dir)]
    command += ["--data", "memory" if folder is None else str(folder.cluster)]
    command += ["--lifetime", "daemon" if wish.daemon else "leases"]
    if folder is not None:
        command += ["--state-file", str(folder.jobs)]
    if not wish.jobs:
        command += ["--jobs-interval-ms", "0"]
    if wish.tcp:
        command += ["--tcp-port", "0"]
    return command


def _log_of(folder: DatabaseFolder | None, socket_dir: Path) -> Path:
    return socket_dir / "server.log" if folder is None else folder.log


def end_server(record: ServerRecord, folder: DatabaseFolder | None) -> bool:
    """See a server end that was told to, and remove what it leaves behind.

    Returns:
        Whether it has ended; it is killed if it does not end by itself, so False is a kernel that cannot kill.
    """
    own_lock = record.socket_dir / LOCK_NAME  # not the folder's, which the next server may hold already
    ended = end_process(record.pid, own_lock if folder is None or own_lock.exists() else folder.lock)
    if ended:
        shutil.rmtree(record.socket_dir, ignore_errors=True)
        if folder is not None and folder.find_record() == record:
            folder.record.unlink(missing_ok=True)
    return ended
