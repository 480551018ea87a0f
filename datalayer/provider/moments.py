"""What the cache has of a symbol at the moment of an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datalayer.cache.times import AFTER_ALL_US, BEFORE_ALL_US, SECOND_US, microseconds
from datalayer.domain.moments import from_microseconds
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.provider.horizon import find_horizon
from datalayer.provider.seam import CandlePlan, plan_candles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from datalayer.cache import CacheSnapshot, DataCacheManager
    from datalayer.provider.horizon import EventPart
    from datalayer.provider.seam import CandleRequest
    from datalayer.provider.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment of an answer, and what the cache has of it.

    Attributes:
        asked: the moment that was asked for, UTC.
        as_of: what was visible then is in the answer, UTC.
        is_live: whether now was asked for.
        snapshot: of the cache, at `as_of`; None: that is too long ago for it.
        asked_rows: how many candles of each timeframe the snapshot was asked for.
        seconds_from: open time from which on the cache has all 1s candles, in microseconds.
        fed: timeframes whose candles come into the cache by a feed that is alive.
        unconfirmed_s: see `QualityFlags`.
    """

    asked: datetime
    as_of: datetime
    is_live: bool
    snapshot: CacheSnapshot | None = None
    asked_rows: int = 0
    seconds_from: int = AFTER_ALL_US
    fed: frozenset[Timeframe] = frozenset()
    unconfirmed_s: Mapping[str, float] = field(default_factory=dict)

    def plan(self, request: CandleRequest, window_us: int) -> CandlePlan:
        """Return what of a request the cache has, and what it lacks."""
        arrays = None if self.snapshot is None else self.snapshot.candles.get(request.timeframe)
        return plan_candles(
            request,
            arrays,
            self.asked_rows,
            seconds_from=self.seconds_from,
            window_us=window_us,
            tail_is_known=request.timeframe in self.fed,
        )


class MomentFinder:
    """Finds the moment of an answer.

    Args:
        cache: where the latest data are.
        settings: of the provider.
    """

    def __init__(self, cache: DataCacheManager, settings: ProviderSettings) -> None:
        self._cache = cache
        self._settle_us = round(settings.settle_s * SECOND_US)
        self._stale_us = round(settings.stale_after_s * SECOND_US)
        self._window_us = round(settings.window_s * SECOND_US)

    def find(
        self,
        symbol: str,
        timestamp: datetime | None,
        timeframes: Sequence[Timeframe],
        rows: int,
        *,
        include_forming: bool,
        events: Iterable[EventPart] = (),
    ) -> Moment:
        """Return the moment of an answer.

        Args:
            symbol: canonical.
            timestamp: the moment that is asked for, in UTC; None: now.
            timeframes: of the candles; may be empty.
            rows: number of candles of each.
            include_forming: see `DataCacheManager.get_snapshot`.
            events: what else has to be whole.

        Raises:
            InvalidInputError: `timestamp` is in the future.
        """

        def snapshot(as_of: datetime | None) -> CacheSnapshot:
            return self._cache.get_snapshot(
                symbol, timeframes, rows, include_forming=include_forming, as_of=as_of
            )

        found = snapshot(None)
        now = microseconds(found.as_of, "clock")
        until = now if timestamp is None else microseconds(timestamp, "timestamp")
        asked = found.as_of if timestamp is None else timestamp
        if until > now:
            hint = f"is in the future (it is {found.as_of.isoformat()}); leave it out for now"
            raise InvalidInputError("timestamp", asked.isoformat(), hint)
        if until < now - self._window_us:
            return Moment(asked, asked, is_live=False)
        horizon = find_horizon(found, until=until, settle_us=self._settle_us, events=events)
        if not _is_same_moment(horizon.as_of, now, found):
            found = snapshot(from_microseconds(horizon.as_of))
        oldest = horizon.as_of - self._stale_us
        return Moment(
            asked,
            from_microseconds(horizon.as_of),
            is_live=timestamp is None,
            snapshot=found,
            asked_rows=rows,
            seconds_from=self._seconds_from(symbol, found),
            fed=frozenset(t for t, known in horizon.candles_until.items() if known >= oldest),
            unconfirmed_s=horizon.unconfirmed_s,
        )

    def _seconds_from(self, symbol: str, found: CacheSnapshot) -> int:
        arrays = found.candles.get(Timeframe.S1)
        if arrays is None:
            arrays = self._cache.get_latest_ohlcv_arrays(symbol, Timeframe.S1, 0)
        if arrays.complete_from is None:
            return AFTER_ALL_US
        if arrays.complete_from.year == 1:
            return BEFORE_ALL_US
        return microseconds(arrays.complete_from, "complete_from")


def _is_same_moment(as_of: int, now: int, found: CacheSnapshot) -> bool:
    """Tell whether a snapshot of now shows what was visible a little earlier: no candle closed since, and no book came."""
    events = [event for event in (found.order_book, found.imbalances) if event is not None]
    if any(microseconds(event.ts, "ts") > as_of for event in events):
        return False
    return as_of // SECOND_US == now // SECOND_US and -(-as_of // SECOND_US) == -(-now // SECOND_US)
