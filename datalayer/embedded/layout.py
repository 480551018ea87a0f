"""The folder of a persistent embedded database, and the record of the server that runs on it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from datalayer.embedded.private import LOCK_NAME, PRIVATE_MODE, require_private
from datalayer.errors import EmbeddedStartError

LOG_LIMIT_BYTES = 1_000_000
_TAIL_BYTES = 8_000
_SHOWN_NAMES = 5
_OWN_NAMES = frozenset(
    {"cluster", LOCK_NAME, "users", "server.json", "jobs.json", "server.log", "server.log.1"}
)
_OWN_PREFIXES = ("cluster.", "server.json.", "jobs.json.")


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a second process needs to join a running server.

    Attributes:
        pid: its process id.
        socket_dir: folder of its sockets.
        tcp_port: its loopback port, or None.
        daemon: whether it runs until it is stopped.
        started_at: when it became ready (UTC).
    """

    pid: int
    socket_dir: Path
    tcp_port: int | None
    daemon: bool
    started_at: datetime


@dataclass(frozen=True, slots=True)
class DatabaseFolder:
    """The layout of a persistent database under `path`."""

    path: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data."""
        return self.path / "cluster"

    @property
    def lock(self) -> Path:
        """Locked by the server process as long as it lives."""
        return self.path / LOCK_NAME

    @property
    def users(self) -> Path:
        """Locked (shared) by each process that uses the server; the last one may end it."""
        return self.path / "users"

    @property
    def jobs(self) -> Path:
        """The ticker's memory of when each job ran."""
        return self.path / "jobs.json"

    @property
    def log(self) -> Path:
        """What the server wrote to standard error."""
        return self.path / "server.log"

    @property
    def record(self) -> Path:
        """The `ServerRecord`; stale when nobody holds the lock."""
        return self.path / "server.json"

    def prepare(self) -> None:
        """Create the folder, or check that it is a database of ours, and close it to other users.

        Raises:
            EmbeddedStartError: it holds other files, belongs to somebody else or cannot be created.
        """
        try:
            self.path.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
            self._refuse_foreign()
            if self.path.stat().st_uid == os.geteuid():
                self.path.chmod(PRIVATE_MODE)
        except OSError as exc:
            msg = f"the database folder {self.path} cannot be used: {exc.strerror}; name another one"
            raise EmbeddedStartError(msg) from exc
        require_private(self.path.resolve())

    def _refuse_foreign(self) -> None:
        if (self.cluster / "PG_VERSION").exists():
            return
        names = sorted(entry.name for entry in self.path.iterdir())
        foreign = [name for name in names if name not in _OWN_NAMES and not name.startswith(_OWN_PREFIXES)]
        if foreign:
            shown = ", ".join(foreign[:_SHOWN_NAMES])
            msg = f"{self.path} holds other files ({shown}) and no embedded database; name an empty or a new folder"
            raise EmbeddedStartError(msg)

    def find_record(self) -> ServerRecord | None:
        """Read the record; None if there is none or it is unreadable."""
        try:
            data = json.loads(self.record.read_text())
            return ServerRecord(
                pid=int(data["pid"]),
                socket_dir=Path(data["socket_dir"]),
                tcp_port=data["tcp_port"],
                daemon=bool(data["daemon"]),
                started_at=datetime.fromisoformat(data["started_at"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, record: ServerRecord) -> None:
        """Replace the record in one step; the lock must be held by `record.pid`."""
        data = {
            "pid": record.pid,
            "socket_dir": str(record.socket_dir),
            "tcp_port": record.tcp_port,
            "daemon": record.daemon,
            "started_at": record.started_at.isoformat(),
        }
        unfinished = self.path / f"server.json.{os.getpid()}"
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(data) + "\n")
        unfinished.replace(self.record)

    def rotate_log(self) -> None:
        """Move a long log aside, keeping one; the lock must be held."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.path / "server.log.1")


def last_lines(log: Path, count: int = 12) -> str:
    """Return the last lines of a log, indented, to be quoted in an error; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in text.splitlines()[-count:])
