"""The rules of validation once more, in plain Python without columns: slow, and easy to see through."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import Notice, Rule, ValidationLimits
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datalayer.domain.instrument import Instrument

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LIMIT = 2**53
PRICES = ("open", "high", "low", "close")


class Broken(Exception):  # noqa: N818 (a verdict on a record, not an error of a program)
    def __init__(self, rule: Rule, field_name: str) -> None:
        super().__init__(rule, field_name)
        self.verdict = (rule, field_name)


@dataclass
class Verdicts:
    """By position: which rows are stored, which rule refused which field, which rows are told of and dropped."""

    kept: list[int] = field(default_factory=list)
    refused: dict[int, tuple[Rule, str]] = field(default_factory=dict)
    told: dict[int, Notice] = field(default_factory=dict)
    disorder: list[int] = field(default_factory=list)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Oracle:
    instrument: Instrument
    limits: ValidationLimits
    now: datetime

    def candles(self, records: list[dict[str, Any]], timeframe: Timeframe) -> Verdicts:
        return self._judge(records, lambda r: self._candle(r, timeframe), ("ts",), last_wins=True)

    def trades(self, records: list[dict[str, Any]]) -> Verdicts:
        return self._judge(records, self._trade, ("ts", "trade_id"), last_wins=False)

    def order_books(self, records: list[dict[str, Any]]) -> Verdicts:
        return self._judge(records, self._order_book, ("ts",), last_wins=False)

    def _judge(
        self, records: list[dict[str, Any]], check: Any, key: tuple[str, ...], *, last_wins: bool
    ) -> Verdicts:
        verdicts = Verdicts()
        for position, record in enumerate(records):
            try:
                verdicts.rows[position] = check(record)
            except Broken as broken:
                verdicts.refused[position] = broken.verdict
        groups: dict[tuple[Any, ...], list[int]] = {}
        last_key = None
        for position, row in verdicts.rows.items():
            this = tuple(row[name] for name in key)
            if last_key is not None and this < last_key:
                verdicts.disorder.append(position)
            last_key = this
            groups.setdefault(this, []).append(position)
        for this in sorted(groups):
            members = groups[this]
            winner = members[-1 if last_wins else 0]
            verdicts.kept.append(winner)
            for other in members:
                if other != winner:
                    self._compare(verdicts, other, winner, may_continue=last_wins)
        return verdicts

    def _compare(self, verdicts: Verdicts, other: int, winner: int, *, may_continue: bool) -> None:
        a, b = verdicts.rows[other], verdicts.rows[winner]
        differing = [name for name in a if a[name] != b[name]]
        if not differing:
            verdicts.told[other] = Notice.DUPLICATE
        elif may_continue and continues(a, b):
            verdicts.told[other] = Notice.REVISION
        else:
            verdicts.refused[other] = (Rule.NO_CONFLICT, differing[0])

    def _candle(self, record: dict[str, Any], timeframe: Timeframe) -> dict[str, Any]:
        self._symbol(record)
        if (label := record.get("timeframe")) is not None:
            try:
                fits = isinstance(label, str | Timeframe) and Timeframe.parse(label) is timeframe
            except InvalidInputError:
                fits = False
            require(fits, Rule.TIMEFRAME, "timeframe")
        ts = self._time(record)
        require(ts % (timeframe.value * 10**6) == 0, Rule.ON_GRID, "ts")
        row: dict[str, Any] = {"ts": ts}
        for name in PRICES:
            row[name] = count(record.get(name), self.instrument.price_scale, name)
        row["volume"] = count(record.get("volume"), self.instrument.size_scale, "volume")
        for name in PRICES:
            require(row[name] > 0, Rule.POSITIVE_PRICE, name)
        require(row["volume"] >= 0, Rule.VOLUME_GE_ZERO, "volume")
        require(row["high"] >= row["low"], Rule.HIGH_GE_LOW, "high")
        require(row["low"] <= row["open"] <= row["high"], Rule.OPEN_WITHIN, "open")
        require(row["low"] <= row["close"] <= row["high"], Rule.CLOSE_WITHIN, "close")
        row["trade_count"] = whole(record.get("trade_count"), "trade_count", 0, 2**31 - 1, nullable=True)
        return row

    def _trade(self, record: dict[str, Any]) -> dict[str, Any]:
        self._symbol(record)
        row: dict[str, Any] = {"ts": self._time(record)}
        row["trade_id"] = whole(record.get("trade_id"), "trade_id", -(2**63), 2**63 - 1)
        row["price"] = count(record.get("price"), self.instrument.price_scale, "price")
        row["size"] = count(record.get("size"), self.instrument.size_scale, "size")
        require(row["price"] > 0, Rule.POSITIVE_PRICE, "price")
        require(row["size"] > 0, Rule.POSITIVE_SIZE, "size")
        row["side"] = whole(record.get("side"), "side", -1, 1, rule=Rule.SIDE)
        return row

    def _order_book(self, record: dict[str, Any]) -> dict[str, Any]:
        self._symbol(record)
        ts = self._time(record)
        update_id = whole(record.get("last_update_id"), "last_update_id", -1, 2**63 - 1, nullable=True)
        sides = {}
        for side in ("bid", "ask"):
            sides[side] = self._levels(record, side)
        for side, levels in sides.items():
            for _, price, _ in levels:
                require(price > 0, Rule.POSITIVE_PRICE, f"{side}_prices")
            for _, _, size in levels:
                require(size > 0, Rule.POSITIVE_SIZE, f"{side}_sizes")
            require(sum(size for *_, size in levels) < 2**63, Rule.REPRESENTABLE, f"{side}_sizes")
            prices = [price if side == "ask" else -price for _, price, _ in levels]
            require(prices == sorted(prices), Rule.SORTED_LEVELS, f"{side}_prices")
            require(len(prices) == len(set(prices)), Rule.UNIQUE_LEVELS, f"{side}_prices")
        if sides["bid"] and sides["ask"]:
            require(sides["bid"][0][1] < sides["ask"][0][1], Rule.BIDS_BELOW_ASKS, "bid_prices")
        return {
            "ts": ts,
            "bid_prices": [price for _, price, _ in sides["bid"]],
            "ask_prices": [price for _, price, _ in sides["ask"]],
            "bid_sizes": [size for *_, size in sides["bid"]],
            "ask_sizes": [size for *_, size in sides["ask"]],
            "last_update_id": -1 if update_id is None else update_id,
        }

    def _levels(self, record: dict[str, Any], side: str) -> list[tuple[int, int, int]]:
        names = (f"{side}_prices", f"{side}_sizes")
        for name in names:
            require(record.get(name) is not None, Rule.PRESENT, name)
            require(isinstance(record[name], list), Rule.LEVELS, name)
        prices, sizes = (record[name] for name in names)
        require(len(prices) == len(sizes), Rule.LEVELS, names[1])
        columns = []
        for name, values, scale in zip(
            names, (prices, sizes), (self.instrument.price_scale, self.instrument.size_scale), strict=True
        ):
            # Of several wrong levels, the rule that comes first is the one that is named.
            faults = [fault_of_level(value, scale) for value in values]
            for rule in (Rule.PRESENT, Rule.NUMBER, Rule.FINITE, Rule.REPRESENTABLE):
                require(rule not in faults, rule, name)
            columns.append([count(value, scale, name) for value in values])
        return [
            (place, price, size) for place, (price, size) in enumerate(zip(*columns, strict=True)) if size
        ]

    def _symbol(self, record: dict[str, Any]) -> None:
        if (text := record.get("symbol")) is not None:
            try:
                joined = str(text).upper().strip() == self.instrument.symbol.replace("/", "")
                fits = isinstance(text, str) and (joined or canonical_symbol(text) == self.instrument.symbol)
            except InvalidInputError:
                fits = False
            require(fits, Rule.SYMBOL, "symbol")

    def _time(self, record: dict[str, Any]) -> int:
        value = record.get("ts")
        require(not is_absent(value), Rule.PRESENT, "ts")
        if isinstance(value, np.datetime64):
            raise Broken(Rule.UTC, "ts")
        if not isinstance(value, datetime):
            raise Broken(Rule.TIME, "ts")
        if value.tzinfo is None:
            raise Broken(Rule.UTC, "ts")
        require(getattr(value, "nanosecond", 0) == 0, Rule.MICROSECONDS, "ts")
        require(value >= self.limits.earliest, Rule.PLAUSIBLE_TIME, "ts")
        require(value <= self.now + timedelta(seconds=self.limits.future_s), Rule.NOT_IN_FUTURE, "ts")
        since: timedelta = value - EPOCH
        return since // timedelta(microseconds=1)


def is_absent(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def continues(earlier: dict[str, Any], later: dict[str, Any]) -> bool:
    counts = (earlier["trade_count"], later["trade_count"])
    return (
        earlier["open"] == later["open"]
        and earlier["high"] <= later["high"]
        and earlier["low"] >= later["low"]
        and earlier["volume"] <= later["volume"]
        and (None in counts or counts[0] <= counts[1])
    )


def require(kept: bool, rule: Rule, name: str) -> None:
    if not kept:
        raise Broken(rule, name)


def count(value: Any, scale: int, name: str) -> int:
    fault = fault_of(value, scale)
    if fault is not None:
        raise Broken(fault, name)
    return twins_of_float(value, scale)[0] if isinstance(value, float) else int(Fraction(value) * 10**scale)


def fault_of(value: Any, scale: int) -> Rule | None:  # noqa: PLR0911 (a list of cases)
    """Which rule one price or size breaks: it must be exactly one whole number of steps up to 2**53."""
    if is_absent(value):
        return Rule.PRESENT
    value = int(value) if is_integer(value) else value
    if isinstance(value, bool) or not isinstance(value, float | int | Decimal | str):
        return Rule.NUMBER
    if isinstance(value, float):
        if not isfinite(value):
            return Rule.FINITE
        found = twins_of_float(value, scale)
        return None if len(found) == 1 and abs(found[0]) <= LIMIT else Rule.REPRESENTABLE
    if isinstance(value, int):
        return None if abs(value) * 10**scale <= LIMIT else Rule.REPRESENTABLE
    if isinstance(value, str) and any(sign == "_" or ord(sign) > 127 for sign in value):
        return Rule.NUMBER
    try:
        number = Decimal(value)
    except InvalidOperation:
        return Rule.NUMBER
    if not number.is_finite():
        return Rule.FINITE
    if number and not -400 < number.adjusted() < 400:
        return Rule.REPRESENTABLE
    scaled = Fraction(number) * 10**scale
    return None if scaled.denominator == 1 and abs(scaled) <= LIMIT else Rule.REPRESENTABLE


def is_integer(value: Any) -> bool:
    """An integer of numpy's; its duration calls itself one and is none."""
    return isinstance(value, np.integer) and not isinstance(value, np.timedelta64)


def fault_of_level(value: Any, scale: int) -> Rule | None:
    """As `fault_of`; and since books are handed out in floats, the float must stand for this count alone."""
    fault = fault_of(value, scale)
    if fault is None and len(twins(count(value, scale, ""), scale)) > 1:
        return Rule.REPRESENTABLE
    return fault


def twins_of_float(value: float, scale: int) -> list[int]:
    """All counts whose nearest float is this one, as far as two on either side."""
    nearest = round(Fraction(value) * 10**scale)
    return twins(nearest, scale, value)


def twins(count_: int, scale: int, value: float | None = None) -> list[int]:
    value = count_ / 10**scale if value is None else value
    return [other for other in range(count_ - 2, count_ + 3) if other / 10**scale == value]


def whole(
    value: Any, name: str, low: int, high: int, *, nullable: bool = False, rule: Rule = Rule.WHOLE_NUMBER
) -> int | None:
    if is_absent(value) or (isinstance(value, float) and isnan(value)):
        require(nullable, Rule.PRESENT, name)
        return None
    good = (isinstance(value, int) and not isinstance(value, bool)) or is_integer(value)
    if isinstance(value, float):
        good = value.is_integer() and abs(value) < LIMIT
    require(good and low <= value <= high, rule, name)
    return int(value)
