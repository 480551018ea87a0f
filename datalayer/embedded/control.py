"""Talk to a running bridge over its control socket: one JSON object a line, each way."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

from datalayer.embedded.forks import forget_when_forked
from datalayer.errors import EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

CONTROL_SOCKET = "control.sock"


def ask(socket_dir: Path, operation: str, timeout_s: float) -> dict[str, Any]:
    """Ask the bridge one thing on a connection of its own.

    Args:
        socket_dir: folder of the control socket.
        operation: `status`, `run_jobs` or `stop`.
        timeout_s: for each step; a bridge that runs a query answers after it.

    Raises:
        TimeoutError: no answer in time: the bridge is busy, which does not mean that it is dead.
        OSError: nobody listens, or the bridge ended before it answered.
        EmbeddedError: the bridge refused.
    """
    with _connect(socket_dir, timeout_s) as connection:
        return _exchange(connection, operation)


class Lease:
    """A share in a running bridge: it lives at least as long as one lease is held, and sees at once when we die."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        forget_when_forked(self)

    @classmethod
    def take(cls, socket_dir: Path, timeout_s: float) -> Lease:
        """Take a lease; raises as `ask` does."""
        connection = _connect(socket_dir, timeout_s)
        try:
            _exchange(connection, "lease")
        except BaseException:
            connection.close()
            raise
        connection.settimeout(0)
        return cls(connection)

    def is_broken(self) -> bool:
        """Whether the bridge is gone."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def release(self) -> None:
        """Give the share back, also for processes that inherited it. May be called again."""
        with contextlib.suppress(OSError):  # the bridge is gone already
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def forget(self) -> None:
        """Close this process's copy only."""
        self._connection.close()


def _connect(socket_dir: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(socket_dir / CONTROL_SOCKET))
    except BaseException:
        connection.close()
        raise
    return connection


def _exchange(connection: socket.socket, operation: str) -> dict[str, Any]:
    connection.sendall(json.dumps({"op": operation}).encode() + b"\n")
    received = b""
    while not received.endswith(b"\n"):
        chunk = connection.recv(1 << 16)
        if not chunk:
            msg = f"the embedded server ended before it answered {operation!r}"
            raise ConnectionResetError(msg)
        received += chunk
    answer: dict[str, Any] = json.loads(received)
    if not answer.get("ok"):
        msg = f"the embedded server refused {operation!r}: {answer.get('error', 'no reason given')}"
        raise EmbeddedError(msg)
    return answer
