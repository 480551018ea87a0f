"""SELECTs of candles, one for each place that they may come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from datalayer.db.literals import sql_literal
from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.moments import last_rows, range_condition
from datalayer.repositories.scale_guard import instrument_condition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument

VALUES: Final = ("open", "high", "low", "close", "volume", "trade_count")
"""What a candle says, beside its open time."""

_SELECTED: Final = {"trade_count": f"coalesce(trade_count, {UNKNOWN_COUNT})::bigint"}
# Listed one by one in a query up to here; more of them become the range that holds them all.
_MOST_RANGES: Final = 16


@dataclass(frozen=True, slots=True)
class OpenRange:
    """Open times of candles, half-open.

    Attributes:
        start: first open time; None: no bound.
        end: excluded.
    """

    start: datetime | None
    end: datetime

    def on_grid(self, timeframe: Timeframe) -> OpenRange:
        """Return the range from the first to after the last open time that a candle of the timeframe has in it."""
        start = None if self.start is None else timeframe.ceil(self.start)
        return OpenRange(start, timeframe.ceil(self.end))


@dataclass(frozen=True, slots=True)
class CandleSelection:
    """Candles of one timeframe.

    Attributes:
        timeframe: length of the candles.
        ranges: ascending, apart from each other, at least one.
        limit: only the last so many of them all, descending; None: all, ascending.
        values: some of `VALUES`.
        forming_at: add the candle that forms at this moment; None: closed ones only.
    """

    timeframe: Timeframe
    ranges: tuple[OpenRange, ...]
    limit: int | None
    values: tuple[str, ...] = VALUES
    forming_at: datetime | None = None

    @property
    def hull(self) -> OpenRange:
        """The range that holds them all."""
        return OpenRange(self.ranges[0].start, self.ranges[-1].end)

    @property
    def types(self) -> dict[str, PgType]:
        """Columns of `stored_query`, as `copy_out` takes them; the other queries have `weight` in addition."""
        return {"ts": "timestamptz", **dict.fromkeys(self.values, "int8")}


def stored_query(of: Instrument, chosen: CandleSelection) -> str:
    """Return the query of candles that are stored at the timeframe itself."""
    condition = f"{instrument_condition(of)} AND timeframe = {sql_literal(chosen.timeframe.value)}"
    return f"SELECT {_select_list(chosen)} FROM candles WHERE {condition} AND {_within(chosen.ranges)} {_order(chosen)}"


def aggregate_query(of: Instrument, chosen: CandleSelection, *, only_clean: bool = False) -> str:
    """Return the query of candles of the continuous aggregate; `weight` is the number of 1s candles in each.

    Args:
        of: whose.
        chosen: not of 1s.
        only_clean: leave out those whose 1s candles were written to since they were materialised.
    """
    length = f"interval '{sql_literal(chosen.timeframe.value)} seconds'"
    clean = (
        " AND NOT EXISTS (SELECT FROM dirty_ranges AS dirty WHERE dirty.relation = 'candles'"
        f" AND dirty.start_ts < rolled_up.ts + {length} AND dirty.end_ts > rolled_up.ts)"
    )
    return (
        f"SELECT {_select_list(chosen)}, candle_count AS weight FROM candles_{chosen.timeframe.label} AS rolled_up"
        f" WHERE {instrument_condition(of)} AND {_within(chosen.ranges)}{clean if only_clean else ''} {_order(chosen)}"
    )


def generated_query(of: Instrument, chosen: CandleSelection, *, lowest: Timeframe = Timeframe.S1) -> str:
    """Return the roll-up of stored lower candles to whole candles; `weight` is the number of minutes with data.

    The end of a range is bounded by what is closed, so every lower candle inside is visible too. Each candle is made of one
    timeframe: the one that has something for most of its minutes, and the finest of those that have as many. Seconds are
    counted by minutes, since a second without a trade has no candle.

    Args:
        of: whose.
        chosen: what to make.
        lowest: shortest timeframe to make it from.
    """
    ranges = [opens.on_grid(chosen.timeframe) for opens in chosen.ranges]
    bucket = _bucket(chosen.timeframe)
    condition = f"timeframe >= {sql_literal(lowest.value)} AND timeframe < {sql_literal(chosen.timeframe.value)} AND {_within(ranges)}"
    return (
        f"SELECT {_select_list(chosen)}, weight FROM ({_best_roll_up(of, bucket, condition)}) AS candles"
        f" {_order(chosen)}"
    )


def forming_query(of: Instrument, chosen: CandleSelection, as_of: datetime) -> str:
    """Return the roll-up of what is closed of the candle that forms at `as_of`; no row if nothing is."""
    opened = chosen.timeframe.floor(as_of)
    condition = (
        f"timeframe < {sql_literal(chosen.timeframe.value)}"
        f" AND {range_condition(opened, as_of)} AND ts + timeframe * interval '1 second' <= {sql_literal(as_of)}"
    )
    return (
        f"SELECT {_select_list(chosen)}, weight"
        f" FROM ({_best_roll_up(of, sql_literal(opened), condition)}) AS candles ORDER BY ts"
    )


def minutes_query(of: Instrument, chosen: CandleSelection) -> str:
    """Return `ts` and `weight`: of how many minutes of each candle there are 1s candles."""
    return (
        f"SELECT {_bucket(chosen.timeframe)} AS ts, count(*) AS weight FROM candles_1m"
        f" WHERE {instrument_condition(of)} AND {_within(chosen.ranges)} GROUP BY 1 ORDER BY 1"
    )


def first_lower_query(of: Instrument, timeframe: Timeframe, end: datetime) -> str:
    """Return the query of the first candle of each shorter timeframe."""
    shorter = ", ".join(f"({sql_literal(other.value)})" for other in Timeframe if other < timeframe)
    return (
        f"SELECT first.ts FROM (VALUES {shorter}) AS shorter (timeframe) CROSS JOIN LATERAL ("
        f"SELECT ts FROM candles WHERE {instrument_condition(of)} AND timeframe = shorter.timeframe"
        f" AND ts < {sql_literal(end)} ORDER BY ts LIMIT 1) AS first"
    )


def _bucket(timeframe: Timeframe) -> str:
    # The origin is written out: a candle opens on the grid of the epoch in UTC whatever `time_bucket` takes by itself.
    length = f"interval '{sql_literal(timeframe.value)} seconds'"
    return f"time_bucket({length}, ts, timestamptz '1970-01-01 00:00:00+00')"


def _best_roll_up(of: Instrument, bucket: str, condition: str) -> str:
    return f"""
        SELECT DISTINCT ON (bucket)
            bucket AS ts, open, high, low, close, volume, trade_count, weight
        FROM (
            SELECT {bucket} AS bucket, timeframe,
                first(open, ts) AS open, max(high) AS high, min(low) AS low, last(close, ts) AS close,
                sum(volume)::bigint AS volume,
                CASE WHEN count(trade_count) = count(*) THEN sum(trade_count) END AS trade_count,
                count(*) FILTER (WHERE timeframe >= 60) * timeframe / 60
                    + count(DISTINCT date_trunc('minute', ts)) FILTER (WHERE timeframe < 60) AS weight
            FROM candles
            WHERE {instrument_condition(of)} AND {condition}
            GROUP BY bucket, timeframe
        ) AS by_timeframe
        ORDER BY bucket, weight DESC, timeframe
    """


def _select_list(chosen: CandleSelection) -> str:
    return ", ".join(["ts", *(_SELECTED.get(name, name) for name in chosen.values)])


def _within(ranges: Sequence[OpenRange]) -> str:
    hull = range_condition(ranges[0].start, ranges[-1].end)
    if len(ranges) == 1 or len(ranges) > _MOST_RANGES:
        return hull
    parts = " OR ".join(f"({range_condition(opens.start, opens.end)})" for opens in ranges)
    return f"{hull} AND ({parts})"


def _order(chosen: CandleSelection) -> str:
    return last_rows(chosen.limit, ("ts",))
