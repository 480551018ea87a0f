"""What a caller should know of an answer before trusting it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from datalayer.domain.frame_frozen import FrozenMapping
from datalayer.domain.frame_values import (
    member,
    number,
    plain_number,
    real_number,
    text_of,
    whole_number,
)
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class QualityFlags:
    """What a caller should know before trusting an answer.

    Attributes:
        missing_candles: for each timeframe the candles that nobody has, inside of the range that was asked for. A silent
            market has candles of volume 0 and is not missing.
        staleness_s: age in seconds of the newest data of each part at `as_of`; NaN: the part is empty.
        forming: timeframes whose last candle was taken before its close.
        stale: parts, named as in `staleness_s`, whose newest data are older than they should be, or that are missing.
        unconfirmed_s: of live answers: for each part that something was still waited for, the seconds before `as_of` in
            which it is taken for silent. Nothing is known to be missing; but if something of that time comes later, history
            will have it, and this answer has not.

    A timeframe may be given in any spelling that `Timeframe.parse` reads.

    Raises:
        InvalidInputError: a count is none, an age is negative, or a timeframe is unknown or there twice; names the part.
    """

    missing_candles: Mapping[Timeframe, int] = field(default_factory=dict)
    staleness_s: Mapping[str, float] = field(default_factory=dict)
    forming: frozenset[Timeframe] = frozenset()
    stale: frozenset[str] = frozenset()
    unconfirmed_s: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = {Timeframe.parse(name): count for name, count in self.missing_candles.items()}
        if len(missing) < len(self.missing_candles):
            raise InvalidInputError(
                "missing_candles", list(self.missing_candles), "names a timeframe twice, in two spellings"
            )
        counts = {t: _count(count, f"missing_candles.{t.label}") for t, count in missing.items()}
        object.__setattr__(self, "missing_candles", FrozenMapping(counts))
        for name in ("staleness_s", "unconfirmed_s"):
            ages = {text_of(part, name): _age(age, name, part) for part, age in getattr(self, name).items()}
            object.__setattr__(self, name, FrozenMapping(ages))
        object.__setattr__(self, "stale", frozenset(text_of(part, "stale") for part in self.stale))
        object.__setattr__(self, "forming", frozenset(map(Timeframe.parse, self.forming)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QualityFlags) and self.facts() == other.facts()

    __hash__ = None  # type: ignore[assignment]  # mappings have none

    def facts(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return {
            "missing_candles": {t.label: count for t, count in self.missing_candles.items()},
            "staleness_s": {part: plain_number(age) for part, age in self.staleness_s.items()},
            "forming": sorted(t.label for t in self.forming),
            "stale": sorted(self.stale),
            "unconfirmed_s": {part: plain_number(age) for part, age in self.unconfirmed_s.items()},
        }

    @classmethod
    def of(cls, facts: Any) -> Self:
        """Return what `facts` wrote.

        Raises:
            InvalidInputError: malformed; names the part.
        """
        names = ("missing_candles", "staleness_s", "unconfirmed_s", "forming", "stale")
        missing, ages, waited, forming, stale = (member(facts, name, "quality") for name in names)
        mappings, lists = (missing, ages, waited), (forming, stale)
        if not all(isinstance(m, dict) for m in mappings) or not all(isinstance(x, list) for x in lists):
            raise InvalidInputError("quality", type(facts).__name__, "is no quality of this format")
        known = {part: number(age, f"staleness_s.{part}") for part, age in ages.items()}
        unconfirmed = {part: number(age, f"unconfirmed_s.{part}") for part, age in waited.items()}
        return cls(missing, known, forming, stale, unconfirmed)


def _age(value: Any, name: str, part: str) -> float:
    path = f"{name}.{part}"
    if (age := real_number(value, path)) < 0:
        raise InvalidInputError(path, value, "is negative: a look ahead")
    return age


def _count(value: Any, field: str) -> int:
    return whole_number(int(value) if isinstance(value, np.integer) else value, field)
