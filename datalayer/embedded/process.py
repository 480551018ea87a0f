"""Start the bridge process and see it through to its end."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from datalayer.embedded.forks import forget_when_forked
from datalayer.embedded.layout import last_lines
from datalayer.embedded.lock import POLL_INTERVAL_S, wait_until_free
from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

START_TIMEOUT_S: Final = 120.0
ORDERLY_END_S: Final = 15.0
TERMINATE_S: Final = 5.0
KILL_S: Final = 5.0
_PHASES: Final = {
    "loading": "loading PostgreSQL and TimescaleDB",
    "initialising": "creating the database",
    "recovering": "recovering what was committed before the last, disorderly end",
    "opening": "opening the database",
}


@dataclass(frozen=True, slots=True)
class Ready:
    """What the bridge says once clients can connect."""

    pid: int
    tcp_port: int | None


_children: dict[int, BridgeProcess] = {}


class BridgeProcess:
    """A bridge that this process started, in a session of its own so that Ctrl-C does not reach it.

    Args:
        command: the program and its arguments.
        output: new file for what it prints; a file and not a pipe, since the bridge may outlive whoever started it.
        log: file that its standard error is appended to.
        environment: variables in addition to our own.
        keep_fds: descriptors of locks that it holds from now on.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path,
        log: Path,
        environment: Mapping[str, str],
        keep_fds: Sequence[int],
    ) -> None:
        self._output = output
        self._log = log
        with _append(output) as stdout, _append(log) as stderr:
            self._popen = subprocess.Popen(  # noqa: S603 - our own bridge
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd="/",
                env={**os.environ, **environment},
                pass_fds=keep_fds,
                start_new_session=True,
            )
        forget_when_forked(self)
        _children[self.pid] = self

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def await_ready(self, on_progress: Callable[[str], None]) -> Ready:
        """Wait until clients can connect.

        Raises:
            EmbeddedStartError: the bridge reported a fault, ended, or was not ready within `START_TIMEOUT_S`.
        """
        for message in self._messages(time.monotonic() + START_TIMEOUT_S):
            if message.get("ready"):
                return Ready(int(message["pid"]), message.get("tcp_port"))
            if "error" in message:
                raise self._failed(str(message["error"]))
            if message.get("phase") in _PHASES:
                on_progress(_PHASES[message["phase"]])
        code = self.exit_code(wait_s=KILL_S)
        reason = f"its process ended with exit code {code}"
        raise self._failed(reason)

    def _messages(self, deadline: float) -> Iterator[dict[str, Any]]:
        """The JSON lines that it prints, until it ends; PostgreSQL's own chatter is passed over."""
        pending = b""
        with self._output.open("rb") as file:
            while True:
                ended = self.exit_code() is not None  # asked before the read, so that nothing is missed
                *lines, pending = (pending + file.read()).split(b"\n")
                yield from filter(None, map(_message, lines))
                if ended:
                    return
                if time.monotonic() > deadline:
                    reason = f"it was not ready within {START_TIMEOUT_S:.0f} s"
                    raise self._failed(reason)
                time.sleep(POLL_INTERVAL_S)

    def _failed(self, reason: str) -> EmbeddedStartError:
        return EmbeddedStartError(f"the embedded TimescaleDB did not start: {reason}{last_lines(self._log)}")

    def exit_code(self, *, wait_s: float = 0.0) -> int | None:
        """Return how the process ended (negative: the signal), or None while it runs."""
        try:
            return self._popen.wait(wait_s) if wait_s else self._popen.poll()
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End the process at once; nothing that was committed is lost."""
        self._popen.kill()
        self.exit_code(wait_s=KILL_S)

    def forget(self) -> None:
        """Let the process live without us: nobody will ask for its exit code."""
        if self._popen.returncode is None:
            self._popen.returncode = 0  # else Popen warns of a process left running


def _message(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _append(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")


def find_child(pid: int) -> BridgeProcess | None:
    """Return the running bridge of that process id if this process started it; reap the ended ones."""
    for child in list(_children.values()):
        if child.exit_code() is not None:
            _children.pop(child.pid, None)
    return _children.get(pid)


@atexit.register
def _forget_children() -> None:
    for child in _children.values():
        child.forget()


def end_process(pid: int, lock: Path) -> bool:
    """Wait for a bridge that was told to end, and make it end if it does not.

    Args:
        pid: its process id; signalled only while `lock` is held, when the number cannot be another process's.
        lock: a lock file that the bridge holds as long as it lives.

    Returns:
        Whether it has ended.
    """
    for wait_s, next_signal in ((ORDERLY_END_S, signal.SIGTERM), (TERMINATE_S, signal.SIGKILL)):
        if wait_until_free(lock, wait_s):
            return True
        try:
            os.kill(pid, next_signal)
        except ProcessLookupError:
            break
    return wait_until_free(lock, KILL_S)
