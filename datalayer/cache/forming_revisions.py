"""What was put in of candles before they closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datalayer.cache.rows import Row

_KEPT_REVISIONS: Final = 16
_KEPT_CANDLES: Final = 3


class FormingRevisions:
    """The last revisions of a few candles: of those that opened last, and of the one that was put in last."""

    __slots__ = ("_revisions",)

    def __init__(self) -> None:
        self._revisions: dict[int, list[tuple[int, Row]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._revisions.values()))

    def put(self, row: Row, received: int) -> None:
        """Keep a revision."""
        revisions = self._revisions.setdefault(row.ts, [])
        revisions.append((received, row))
        del revisions[:-_KEPT_REVISIONS]
        if len(self._revisions) > _KEPT_CANDLES:
            del self._revisions[min(ts for ts in self._revisions if ts != row.ts)]

    def last(self, ts: int, as_of: int) -> Row | None:
        """Return the last revision of a candle that had been received by a moment; None: none had."""
        received = [row for at, row in self._revisions.get(ts, ()) if at <= as_of]
        return received[-1] if received else None

    def discard(self, row: Row) -> bool:
        """Take a revision out again; tell whether it was there."""
        revisions = self._revisions.get(row.ts, [])
        places = [place for place, (_, one) in enumerate(revisions) if row.repeats(one)]
        for place in places[-1:]:
            del revisions[place]
        return bool(places)
