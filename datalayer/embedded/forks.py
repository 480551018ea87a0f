"""Keep what a process holds out of the processes it forks.

A forked child (multiprocessing, gunicorn) shares open descriptors with its parent: it would go on holding the lock and
the lease after the parent let go of them, and its own clean-up would end a server that the parent still uses.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that a forked child must drop."""

    def forget(self) -> None:
        """Close this process's copy without any effect on the other process."""


_held: WeakSet[Forkable] = WeakSet()


def forget_when_forked(resource: Forkable) -> None:
    """Call `resource.forget()` in every child that this process forks while the resource is alive."""
    _held.add(resource)


def _forget_all() -> None:
    for resource in list(_held):
        resource.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
