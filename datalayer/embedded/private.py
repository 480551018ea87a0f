"""Folders that nobody else on the machine can enter."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from datalayer.embedded.lock import FileLock
from datalayer.errors import EmbeddedStartError

PRIVATE_MODE = 0o700
LOCK_NAME = "lock"
_PREFIX = "datalayer-"
_UNFINISHED_PREFIX = ".new-datalayer-"
_LONGEST_FOLDER_BYTES = (
    80  # a socket address holds 104 bytes on macOS and 108 on Linux, the socket's name included
)


def require_posix() -> None:
    """Refuse to go on without unix sockets and file locks.

    Raises:
        EmbeddedStartError: on Windows.
    """
    if sys.platform == "win32":
        msg = "the embedded TimescaleDB needs Linux or macOS; on Windows use WSL or a server (DATALAYER_DATABASE_URL)"
        raise EmbeddedStartError(msg)


def require_private(folder: Path) -> None:
    """Check that a folder is ours and closed to everybody else.

    Raises:
        EmbeddedStartError: it is missing, a link, somebody else's, or open to others.
    """
    try:
        found = folder.lstat()
    except OSError as exc:
        msg = f"{folder} cannot be used: {exc.strerror}"
        raise EmbeddedStartError(msg) from exc
    if not stat.S_ISDIR(found.st_mode):
        msg = f"{folder} is not a folder; name another one"
        raise EmbeddedStartError(msg)
    if found.st_uid != os.geteuid():
        msg = f"{folder} belongs to user {found.st_uid}, not to {os.geteuid()}; run as its owner or name another folder"
        raise EmbeddedStartError(msg)
    if stat.S_IMODE(found.st_mode) & 0o077:
        msg = f"{folder} is open to other users (mode {stat.S_IMODE(found.st_mode):o}); chmod 700 it"
        raise EmbeddedStartError(msg)


def create_socket_folder(*, outlives_login: bool) -> tuple[Path, FileLock]:
    """Create a private folder for the sockets, short enough for their addresses, and remove those left by the dead.

    Args:
        outlives_login: the server goes on after the user logged out, when the user's runtime folder is deleted.

    Returns:
        The folder and the lock on its `lock` file, to be handed to the server: a folder whose lock is free is rubbish.

    Raises:
        EmbeddedStartError: no temporary folder is writable.
    """
    parent = _socket_parent(outlives_login=outlives_login)
    try:
        _sweep(parent)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=parent))
    except OSError as exc:
        msg = f"no folder for the sockets could be made in {parent}: {exc.strerror}; set TMPDIR to a writable folder"
        raise EmbeddedStartError(msg) from exc
    try:
        require_private(unfinished)
        lock = FileLock.try_acquire(unfinished / LOCK_NAME)
        assert lock is not None  # noqa: S101 - nobody else knows the folder yet
        # only now does it get the name that the sweep looks for
        folder = parent / unfinished.name.replace(_UNFINISHED_PREFIX, _PREFIX, 1)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder, lock


def _socket_parent(*, outlives_login: bool) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")  # the session's own, private folder, where there is one
    if runtime and not outlives_login and _is_ours(Path(runtime)) and _is_short(Path(runtime)):
        return Path(runtime)
    temporary = Path(tempfile.gettempdir())
    return temporary if _is_short(temporary) else Path("/tmp")  # noqa: S108 - mkdtemp makes a private one in it


def _is_short(folder: Path) -> bool:
    return len(os.fsencode(folder)) + len(_UNFINISHED_PREFIX) + 10 <= _LONGEST_FOLDER_BYTES


def _is_ours(folder: Path) -> bool:
    try:
        require_private(folder)
    except EmbeddedStartError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _sweep(parent: Path) -> None:
    """Remove the socket folders whose server is gone, as after a kill."""
    for folder in parent.glob(f"{_PREFIX}*"):
        lock_file = folder / LOCK_NAME
        if not _is_ours(folder) or not lock_file.is_file():
            continue
        try:
            lock = FileLock.try_acquire(lock_file)
        except OSError:
            continue
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            lock.forget()
