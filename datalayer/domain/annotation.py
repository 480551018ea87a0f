"""A label that somebody gave to a range of time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime  # noqa: TC003 (a field)
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Annotation:
    """A label of a range `[start, end)` of open times.

    Changed by `edited` only, which makes the next revision; the earlier ones stay in the database.

    Attributes:
        symbol: canonical, as in `BTC/USDT`; another known spelling is converted.
        timeframes: of the candles that are labelled, ascending; at least one.
        start: first time, aware, included.
        end: aware, excluded.
        label: what is seen there, for instance `breakout`.
        author: who says so; of this revision.
        note: in words.
        id: made here, so that saving it may be repeated.
        revision: from 1.
        is_deleted: whether this revision takes it back.
        data_hash: `InferenceDataFrame.content_hash` of what it was made on; None until it is stored.
        created_at: when its first revision was stored, UTC; None until then.
        updated_at: when this one was.

    Raises:
        InvalidInputError: a time is naive, `end` is not after `start`, a text or `timeframes` is empty, or the symbol or a
            timeframe cannot be read.
    """

    symbol: str
    timeframes: tuple[Timeframe, ...]
    start: datetime
    end: datetime
    label: str
    author: str
    note: str = ""
    id: UUID = field(default_factory=uuid4)
    revision: int = 1
    is_deleted: bool = False
    data_hash: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", canonical_symbol(self.symbol))
        object.__setattr__(self, "timeframes", _lengths(self.timeframes))
        for name in ("start", "end"):
            object.__setattr__(self, name, utc_moment(getattr(self, name), name))
        if self.end <= self.start:
            raise InvalidInputError("end", self.end, f"is not after start={self.start}; it is excluded")
        for name in ("label", "author"):
            if not getattr(self, name).strip():
                raise InvalidInputError(name, getattr(self, name), "give a text")

    def edited(self, *, author: str, **changes: Any) -> Annotation:
        """Return the next revision.

        Args:
            author: who changes it.
            changes: some of timeframes, start, end, label and note; or `is_deleted=False`, which brings it back.

        Raises:
            InvalidInputError: another attribute, or as from the class.
        """
        for name, value in changes.items():
            if name not in {"timeframes", "start", "end", "label", "note", "is_deleted"}:
                raise InvalidInputError(name, value, "cannot be changed; make a new annotation")
        return replace(self, author=author, revision=self.revision + 1, updated_at=None, **changes)


def _lengths(given: Iterable[Timeframe | str]) -> tuple[Timeframe, ...]:
    if isinstance(given, str):
        raise InvalidInputError("timeframes", given, "give several, as in ['1m']")
    lengths = {Timeframe.parse(timeframe) for timeframe in given}
    if not lengths:
        raise InvalidInputError("timeframes", given, "give at least one")
    return tuple(sorted(lengths))
