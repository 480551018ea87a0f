"""An event loop whose clock can be put forward; sockets and threads stay real."""

from __future__ import annotations

import asyncio


class ShiftedLoop(asyncio.SelectorEventLoop):
    """Timers run by the real clock and what was added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s

    def advance(self, seconds: float) -> None:
        self.ahead_s += seconds
