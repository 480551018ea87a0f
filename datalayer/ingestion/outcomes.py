"""What becomes of a record that is handed in."""

from __future__ import annotations

from enum import StrEnum


class Ingested(StrEnum):
    """What became of a record."""

    ACCEPTED = "accepted"
    """It will be in the database."""
    FORMING = "forming"
    """A candle that is not closed: it is in the cache and is no history."""
    REJECTED = "rejected"
    """A rule refuses it, or its instrument is not known: it will be in quarantine."""
