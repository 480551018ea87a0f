"""Locks that the kernel holds exactly as long as their holder lives."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Self

from datalayer.embedded.forks import forget_when_forked

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

POLL_INTERVAL_S = 0.02


class FileLock:
    """An `flock` on a file, released when the last copy of its descriptor is closed.

    A copy handed to another process keeps the lock for that process: it survives this one, and ends with the other one
    however that ends. There is nothing to clean up after a kill.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        forget_when_forked(self)

    @classmethod
    def try_acquire(cls, path: Path, *, shared: bool = False) -> Self | None:
        """Take the lock, or return None when somebody holds it. The file is created if absent, mode 0600."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    @classmethod
    def acquire(cls, path: Path, timeout_s: float, *, shared: bool = False) -> Self | None:
        """Take the lock, waiting up to `timeout_s`; None when it was not to be had."""
        deadline = time.monotonic() + timeout_s
        while (lock := cls.try_acquire(path, shared=shared)) is None and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        return lock

    def forget(self) -> None:
        """Close this process's descriptor; the lock stays if another process has a copy. May be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()

    def __del__(self) -> None:
        self.forget()


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on an existing file; False if there is no such file."""
    if not path.exists():
        return False
    lock = FileLock.try_acquire(path, shared=True)
    if lock is None:
        return True
    lock.forget()
    return False


def wait_until_free(path: Path, timeout_s: float) -> bool:
    """Wait until nobody holds the lock; False if somebody still does after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while is_locked(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True
