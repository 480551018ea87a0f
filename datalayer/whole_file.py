"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the place of `path` at the end of the block; if that fails, nothing has changed.

    Whoever opens `path` finds what was there before or all of what is there now, also after a loss of power, and also if
    two write it at once. A device or pipe (`/dev/stdout`) has no place to take, and is written to as it is.

    Args:
        path: what to write; its folder exists. A symbolic link stays one, the file it leads to is replaced.

    Raises:
        OSError: there is no such folder, nothing may be written in it, or there is no room.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    target = path.resolve()
    partial = target.with_name(f".{target.name}.{token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that what was renamed or removed in a folder stays so after a loss of power.

    Raises:
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
