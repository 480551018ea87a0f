"""Lengths of time and sizes, as people say them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_THOUSAND: Final = 1000
_MILLISECOND: Final = 1e-3


def length_text(length: timedelta) -> str:
    """Return a length in the largest unit that fits twice at least: `3 d`, `36 h`, `90 s`; below zero with a minus."""
    seconds = length.total_seconds()
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{sign}{seconds / size:.0f} {unit}"
    return f"{sign}{seconds:.1f} s"


def seconds_text(seconds: float) -> str:
    """Return a latency in the unit that suits it: `12 µs`, `35 ms`, `1.8 s`; NaN is a dash."""
    if math.isnan(seconds):
        return "-"
    if 0 < seconds < _MILLISECOND:
        return f"{1e6 * seconds:.0f} µs"
    return f"{1e3 * seconds:.0f} ms" if seconds < 1 else length_text(timedelta(seconds=seconds))


def bytes_text(size: float) -> str:
    """Return a size in units of thousands: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < _THOUSAND:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _THOUSAND
    return f"{size:.2f} TB"
