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

    A timeframe may be given in any spelling that `Timeframe.parse` reads.

    Raises:
        InvalidInputError: a count is none, an age is negative, or a timeframe is unknown or there twice; names the part.
    """

    missing_candles: Mapping[Timeframe, int] = field(default_factory=dict)
    staleness_s: Mapping[str, float] = field(default_factory=dict)
    forming: frozenset[Timeframe] = frozenset()

    def __post_init__(self) -> None:
        missing = {Timeframe.parse(name): count for name, count in self.missing_candles.items()}
        if len(missing) < len(self.missing_candles):
            raise InvalidInputError(
                "missing_candles", list(self.missing_candles), "names a timeframe twice, in two spellings"
            )
        counts = {t: _count(count, f"missing_candles.{t.label}") for t, count in missing.items()}
        ages = {text_of(part, "staleness_s"): _age(age, part) for part, age in self.staleness_s.items()}
        object.__setattr__(self, "missing_candles", FrozenMapping(counts))
        object.__setattr__(self, "staleness_s", FrozenMapping(ages))
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
        }

    @classmethod
    def of(cls, facts: Any) -> Self:
        """Return what `facts` wrote.

        Raises:
            InvalidInputError: malformed; names the part.
        """
        missing, ages, forming = (
            member(facts, n, "quality") for n in ("missing_candles", "staleness_s", "forming")
        )
        if not isinstance(missing, dict) or not isinstance(ages, dict) or not isinstance(forming, list):
            raise InvalidInputError("quality", type(facts).__name__, "is no quality of this format")
        known = {part: number(age, f"staleness_s.{part}") for part, age in ages.items()}
        return cls(missing, known, forming)  # type: ignore[arg-type]  # a list of texts, which it converts


def _age(value: Any, part: str) -> float:
    path = f"staleness_s.{part}"
    if (age := real_number(value, path)) < 0:
        raise InvalidInputError(path, value, "is negative: a look ahead")
    return age


def _count(value: Any, field: str) -> int:
    return whole_number(int(value) if isinstance(value, np.integer) else value, field)
