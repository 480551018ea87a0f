"""The rules that market data must keep, by name, and the limits that a user may set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Final, Literal, TypeAlias

from datalayer.domain.moments import utc_moment
from datalayer.errors import InvalidInputError

Kind: TypeAlias = Literal["candle", "trade", "order_book"]
"""What a record is; the words of `rejected_records.kind`."""


class Rule(StrEnum):
    """What a record must keep to be accepted. The value is the rule's name, as `rejected_records.rule` has it."""

    SYMBOL = "symbol"
    TIMEFRAME = "timeframe"
    PRESENT = "present"
    TIME = "time"
    UTC = "utc"
    MICROSECONDS = "microseconds"
    PLAUSIBLE_TIME = "plausible_time"
    NOT_IN_FUTURE = "not_in_future"
    ON_GRID = "on_grid"
    NUMBER = "number"
    FINITE = "finite"
    REPRESENTABLE = "representable"
    WHOLE_NUMBER = "whole_number"
    POSITIVE_PRICE = "positive_price"
    VOLUME_GE_ZERO = "volume_ge_zero"
    HIGH_GE_LOW = "high_ge_low"
    OPEN_WITHIN = "open_within"
    CLOSE_WITHIN = "close_within"
    POSITIVE_SIZE = "positive_size"
    SIDE = "side"
    LEVELS = "levels"
    SORTED_LEVELS = "sorted_levels"
    UNIQUE_LEVELS = "unique_levels"
    BIDS_BELOW_ASKS = "bids_below_asks"
    NO_CONFLICT = "no_conflict"


class Notice(StrEnum):
    """What is told of accepted data, or of rows that needed no storing; nothing is refused for it."""

    SPIKE = "spike"
    ZERO_SIZE_LEVELS = "zero_size_levels"
    DISORDER = "disorder"
    DUPLICATE = "duplicate"
    REVISION = "revision"


MEANINGS: Final[dict[Rule, str]] = {
    Rule.SYMBOL: "is not the symbol of this validator's instrument; hand the record to the validator of its own",
    Rule.TIMEFRAME: "is not the timeframe that the candles are said to have",
    Rule.PRESENT: "has no value",
    Rule.TIME: "is no time; give an aware datetime",
    Rule.UTC: "is naive; say which time is meant, as in ts.replace(tzinfo=UTC)",
    Rule.MICROSECONDS: "is finer than a microsecond, which is all that is stored",
    Rule.PLAUSIBLE_TIME: "is before the earliest plausible time; its unit may have been mistaken",
    Rule.NOT_IN_FUTURE: "is further ahead of the clock than allowed; the unit or the clock may be wrong",
    Rule.ON_GRID: "is no open time of a candle of this timeframe",
    Rule.NUMBER: "is no number; give float, int, Decimal or str",
    Rule.FINITE: "is not finite",
    Rule.REPRESENTABLE: "is no whole count of the instrument's steps up to 2**53; if it is right, widen the scale",
    Rule.WHOLE_NUMBER: "is no whole number in the range of its column",
    Rule.POSITIVE_PRICE: "is not above zero",
    Rule.VOLUME_GE_ZERO: "is below zero",
    Rule.HIGH_GE_LOW: "is below the low",
    Rule.OPEN_WITHIN: "is not between low and high",
    Rule.CLOSE_WITHIN: "is not between low and high",
    Rule.POSITIVE_SIZE: "is not above zero",
    Rule.SIDE: "is no side; 1: the aggressor bought, -1: sold, 0: unknown",
    Rule.LEVELS: "is no list with one value for each level of its side",
    Rule.SORTED_LEVELS: "breaks the order; bids fall and asks rise from the best level on",
    Rule.UNIQUE_LEVELS: "repeats the price of the level before it",
    Rule.BIDS_BELOW_ASKS: "is not below the best ask",
    Rule.NO_CONFLICT: "contradicts another row of the same key in this batch; find out which one is right",
}
"""What a refused value is or does not do; reads on after the name of the field."""


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """What is plausible.

    Attributes:
        earliest: the first plausible time, aware. Seconds or milliseconds read in a unit that is a thousand times finer
            fall into January 1970.
        future_s: how far a time may be ahead of the clock, in seconds, the limit included. A receive clock that is
            behind the exchange's makes every record seem to come from the future (a real one is 1.27 s behind
            throughout), so this is generous; what it has to catch is a mistaken unit, which is off by years.
        spike: a price that differs from the one before it by more than this fraction, up or down alike, is flagged.

    Raises:
        InvalidInputError: `earliest` is naive, `future_s` is negative, or `spike` is not above zero.
    """

    earliest: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    future_s: float = 300.0
    spike: float = 0.2

    def __post_init__(self) -> None:
        utc_moment(self.earliest, "earliest")
        if not (isfinite(self.future_s) and self.future_s >= 0):
            raise InvalidInputError("future_s", self.future_s, "give seconds, zero or more")
        if not (isfinite(self.spike) and self.spike > 0):
            raise InvalidInputError("spike", self.spike, "give a fraction above zero, as in 0.2 for 20 %")
