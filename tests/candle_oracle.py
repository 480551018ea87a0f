"""What a cache of candles should answer, computed from scratch out of everything that was ever put in, slowly and plainly."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from datalayer.domain.candle import Candle
from datalayer.domain.timeframe import Timeframe

NEVER = datetime.min.replace(tzinfo=UTC)
SECOND = timedelta(seconds=1)
SHOWN_BACK = timedelta(minutes=5)
SETTLING = timedelta(seconds=2)


def is_over(candle: Candle, as_of: datetime) -> bool:
    return candle.closed_at <= as_of


@dataclass
class CandleOracle:
    """Revisions of each candle in the order they came, and what was said about completeness."""

    closed: dict[tuple[Timeframe, datetime], list[Candle]] = field(default_factory=lambda: defaultdict(list))
    forming: dict[tuple[Timeframe, datetime], list[tuple[datetime, Candle]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    marked: datetime = NEVER

    def put(self, candle: Candle, now: datetime) -> None:
        key = candle.timeframe, candle.ts
        if candle.is_forming:
            self.forming[key].append((now, candle))
        elif not (self.closed[key] and _repeats(candle, _folded(self.closed[key]))):
            self.closed[key].append(candle)

    def discard(self, candle: Candle) -> None:
        if candle.is_forming:
            received = self.forming[candle.timeframe, candle.ts]
            places = [place for place, (_, one) in enumerate(received) if _repeats(candle, one)]
            for place in places[-1:]:
                del received[place]
            return
        revisions = self.closed[candle.timeframe, candle.ts]
        for place in reversed(range(len(revisions))):
            if _repeats(candle, revisions[place]):
                del revisions[place]
                break

    def stored(self, timeframe: Timeframe) -> dict[datetime, Candle]:
        return {
            ts: _folded(found) for (length, ts), found in self.closed.items() if length == timeframe and found
        }

    def known_until(self) -> datetime:
        return max([self.marked, *(candle.closed_at for candle in self.stored(Timeframe.S1).values())])

    def rolled(self, timeframe: Timeframe, ts: datetime, as_of: datetime) -> Candle | None:
        """Roll up; None: nothing was there, or longer stored candles say something of more minutes."""
        end = min(ts + timeframe.length, as_of)
        parts = [
            second
            for _, second in sorted(self.stored(Timeframe.S1).items())
            if ts <= second.ts and second.closed_at <= end
        ]
        minutes = len({Timeframe.M1.floor(part.ts) for part in parts})
        for lower in Timeframe:
            if Timeframe.S1 < lower < timeframe:
                whole = [one for one in self.stored(lower).values() if ts <= one.ts and one.closed_at <= end]
                if len(whole) * lower > minutes * Timeframe.M1:
                    return None
        if not parts:
            return None
        counts = [part.trade_count for part in parts]
        return Candle(
            parts[0].symbol,
            timeframe,
            ts,
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
            float(sum((Decimal(repr(part.volume)) for part in parts), Decimal(0))),
            None if None in counts else sum(counts),  # type: ignore[arg-type]
        )

    def candles(self, timeframe: Timeframe, as_of: datetime, now: datetime) -> dict[datetime, Candle]:
        """Return the closed candles, those of 1s of the last minutes only."""
        stored = {ts: one for ts, one in self.stored(timeframe).items() if one.closed_at <= as_of}
        if timeframe == Timeframe.S1:
            return {ts: one for ts, one in stored.items() if ts >= as_of - SHOWN_BACK}
        surely = max(self.known_until(), max(now, as_of) - SETTLING)
        starts = {timeframe.floor(ts) for ts in self.stored(Timeframe.S1)}
        ends = {ts: ts + timeframe.length for ts in starts}
        rolled = {
            ts: self.rolled(timeframe, ts, as_of) for ts, end in ends.items() if end <= min(as_of, surely)
        }
        return {ts: one for ts, one in rolled.items() if one is not None} | stored

    def not_closed(self, timeframe: Timeframe, as_of: datetime, now: datetime) -> list[Candle]:
        """Return the candle that is over but may lack its end, and the one that the moment lies in."""
        found = []
        opened = timeframe.floor(as_of)
        if timeframe != Timeframe.S1:
            last = opened - timeframe.length
            pending = self.rolled(timeframe, last, as_of)
            if pending is not None and last not in self.candles(timeframe, as_of, now):
                found.append(pending)
            rolled = self.rolled(timeframe, opened, as_of)
            if rolled is not None:
                return [*found, rolled]
        return found + self.last_revision(timeframe, as_of)

    def last_revision(self, timeframe: Timeframe, as_of: datetime) -> list[Candle]:
        """Return what was last put in, by a moment, of the candle that it lies in, if anything was."""
        received = self.forming[timeframe, timeframe.floor(as_of)]
        return [one for at, one in received if at <= as_of][-1:]


def _folded(revisions: list[Candle]) -> Candle:
    """Return the last revision; a count that it leaves out is that of the one before."""
    last = revisions[-1]
    known = [one.trade_count for one in revisions if one.trade_count is not None]
    return Candle(
        last.symbol,
        last.timeframe,
        last.ts,
        last.open,
        last.high,
        last.low,
        last.close,
        last.volume,
        known[-1] if known else None,
    )


def _repeats(candle: Candle, other: Candle) -> bool:
    return _values(candle) == _values(other) and candle.trade_count in (None, other.trade_count)


def _values(candle: Candle) -> tuple[object, ...]:
    return candle.open, candle.high, candle.low, candle.close, candle.volume
