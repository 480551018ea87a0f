"""SELECTs of candles, one for each place that they may come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from datalayer.db.literals import sql_literal
from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.candle_ranges import OpenRange, few, hull_of, within, without
from datalayer.repositories.moments import last_rows
from datalayer.repositories.scale_guard import instrument_condition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.materialised import Materialised

VALUES: Final = ("open", "high", "low", "close", "volume", "trade_count")
"""What a candle says, beside its open time."""

_PARTS: Final = f"ts, {', '.join(VALUES)}"
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_SELECTED: Final = {"trade_count": f"coalesce(trade_count, {UNKNOWN_COUNT})::bigint"}


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
        return hull_of(self.ranges)

    @property
    def types(self) -> dict[str, PgType]:
        """Columns of `stored_query`, as `copy_out` takes them; the other queries have `weight` in addition."""
        return {"ts": "timestamptz", **dict.fromkeys(self.values, "int8")}


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What the aggregates hold.

    Attributes:
        aggregates: of every timeframe but 1s.
        dirty: where 1s candles were written to since they were rolled up; half-open, ascending, few.
    """

    aggregates: Mapping[Timeframe, Materialised]
    dirty: tuple[tuple[datetime, datetime], ...]

    def clean_in(self, ranges: Sequence[OpenRange], timeframe: Timeframe) -> tuple[OpenRange, ...]:
        """Return what of some ranges is covered by whole candles of an aggregate that are up to date."""
        dirty = [(timeframe.floor(start), timeframe.ceil(stop)) for start, stop in self.dirty]
        return without(self._whole_in(ranges, timeframe), dirty)

    def dirty_in(self, ranges: Sequence[OpenRange], timeframe: Timeframe) -> tuple[OpenRange, ...]:
        """Return what of some ranges is covered by whole candles of an aggregate that may be out of date."""
        clean = self.clean_in(ranges, timeframe)
        left = without(self._whole_in(ranges, timeframe), ((c.start or _EARLIEST, c.end) for c in clean))
        return tuple(opens for opens in left if opens.end > _EARLIEST)

    def _whole_in(self, ranges: Sequence[OpenRange], timeframe: Timeframe) -> list[OpenRange]:
        end = timeframe.floor(self.aggregates[timeframe].end)
        whole = [
            OpenRange(opens.start and timeframe.ceil(opens.start), min(end, timeframe.floor(opens.end)))
            for opens in ranges
        ]
        return [opens for opens in whole if opens.start is None or opens.start < opens.end]


def stored_query(of: Instrument, chosen: CandleSelection) -> str:
    """Return the query of candles that are stored at the timeframe itself."""
    condition = f"{instrument_condition(of)} AND timeframe = {sql_literal(chosen.timeframe.value)}"
    ranges = within(few(chosen.ranges))
    return f"SELECT {_select_list(chosen)} FROM candles WHERE {condition} AND {ranges} {_order(chosen)}"


def aggregate_query(
    of: Instrument, chosen: CandleSelection, rolled_up: RolledUp, *, dirty: bool = False
) -> str:
    """Return the query of candles that are materialised and up to date; `weight` is the number of 1s candles in each.

    Args:
        of: whose.
        chosen: not of 1s.
        rolled_up: what the aggregates hold.
        dirty: those that may be out of date, and no others.
    """
    timeframe = chosen.timeframe
    asked = [opens.on_grid(timeframe) for opens in few(chosen.ranges)]
    ranges = rolled_up.dirty_in(asked, timeframe) if dirty else rolled_up.clean_in(asked, timeframe)
    return (
        f"SELECT {_select_list(chosen)}, candle_count AS weight FROM {rolled_up.aggregates[timeframe].table}"
        f" WHERE {instrument_condition(of)} AND {within(ranges)} {_order(chosen)}"
    )


def generated_query(
    of: Instrument, chosen: CandleSelection, rolled_up: RolledUp | None, *, only_seconds: bool = False
) -> str:
    """Return the roll-up of stored lower candles to whole candles.

    The end of a range is bounded by what is closed, so every lower candle inside is visible too. Each candle is made of one
    timeframe: the one that has something for most of its minutes, and the finest of those that have as many. Seconds are
    counted by minutes, since a second without a trade has no candle.

    Args:
        of: whose.
        chosen: what to make.
        rolled_up: what the aggregates hold; of 1m, in the place of 1s candles. None: those are not used at all.
        only_seconds: use nothing else.

    Returns:
        A query with the columns `weight`, the number of minutes with data, and `made_of`, a timeframe in seconds.
    """
    ranges = few([opens.on_grid(chosen.timeframe) for opens in chosen.ranges])
    parts = [] if only_seconds else [_longer_than_seconds(of, chosen.timeframe, ranges)]
    if rolled_up is not None:
        parts += _seconds(of, chosen.timeframe, ranges, rolled_up)
    candle = f"{sql_literal(chosen.timeframe.value)} AS length, {_bucket(chosen.timeframe)} AS bucket"
    lower = f"SELECT {candle}, lower.* FROM ({' UNION ALL '.join(parts)}) AS lower"
    return f"SELECT {_select_list(chosen)}, weight, made_of FROM ({_best_roll_up(lower)}) AS candles {_order(chosen)}"


def forming_query(of: Instrument, chosen: Sequence[CandleSelection], rolled_up: RolledUp) -> str:
    """Return the roll-ups of what is closed of the candles that form at a moment; no row where nothing is.

    What the longest of them is made of holds all that the others are made of, so it is read once.

    Args:
        of: whose.
        chosen: of different timeframes, not 1s; of the same values and moment.
        rolled_up: what the aggregates hold; of 1m, in the place of 1s candles.

    Returns:
        A query with the columns `timeframe` and `weight` around those of `CandleSelection.types`.

    Raises:
        ValueError: there is not one moment at which a candle is asked for that forms.
    """
    at = chosen[0].forming_at
    if at is None or any(selection.forming_at != at for selection in chosen):
        msg = "no candle is asked for that forms, or at different moments"
        raise ValueError(msg)
    longest = max(selection.timeframe for selection in chosen)
    so_far = (OpenRange(longest.floor(at), at),)
    closed = f" AND ts + timeframe * interval '1 second' <= {sql_literal(at)}"
    parts = [
        _longer_than_seconds(of, longest, so_far) + closed,
        *_seconds(of, longest, so_far, rolled_up, closed),
    ]
    forming = ", ".join(
        f"({sql_literal(selection.timeframe.value)}, {sql_literal(selection.timeframe.floor(at))})"
        for selection in chosen
    )
    lower = (
        f"SELECT forming.*, lower.* FROM (VALUES {forming}) AS forming (length, bucket)"
        f" JOIN ({' UNION ALL '.join(parts)}) AS lower"
        " ON lower.ts >= forming.bucket"
    )
    return f"SELECT length AS timeframe, {_select_list(chosen[0])}, weight FROM ({_best_roll_up(lower)}) AS candles"


def minutes_query(of: Instrument, chosen: CandleSelection, rolled_up: RolledUp) -> str:
    """Return `ts` and `weight`: of how many minutes of each candle there are 1s candles."""
    parts = " UNION ALL ".join(_seconds(of, chosen.timeframe, few(chosen.ranges), rolled_up))
    return (
        f"SELECT {_bucket(chosen.timeframe)} AS ts, count(DISTINCT date_trunc('minute', ts)) AS weight"
        f" FROM ({parts}) AS seconds GROUP BY 1 ORDER BY 1"
    )


def seconds_query(of: Instrument, chosen: CandleSelection) -> str:
    """Return `ts` and `weight`: how many 1s candles of each candle are stored; no row if none is."""
    return (
        f"SELECT {_bucket(chosen.timeframe)} AS ts, count(*) AS weight FROM candles"
        f" WHERE {instrument_condition(of)} AND timeframe = 1 AND {within(few(chosen.ranges))} GROUP BY 1 ORDER BY 1"
    )


def beginnings_query(of: Instrument, timeframes: Sequence[Timeframe], rolled_up: RolledUp) -> str:
    """Return `timeframe` and `ts`: the first stored candle of each timeframe, and with a minus the first of some aggregates.

    Args:
        of: whose.
        timeframes: of the aggregates; there is none of 1s.
        rolled_up: what the aggregates hold.
    """
    whose = f"instrument_id = {sql_literal(of.id)}"
    stored = ", ".join(f"({sql_literal(timeframe.value)})" for timeframe in Timeframe)
    parts = [
        (
            f"SELECT stored.timeframe, first.ts FROM (VALUES {stored}) AS stored (timeframe) CROSS JOIN LATERAL ("
            f"SELECT ts FROM candles WHERE {whose} AND timeframe = stored.timeframe ORDER BY ts LIMIT 1) AS first"
        )
    ]
    parts += [
        f"(SELECT -{sql_literal(timeframe.value)}, ts FROM {rolled_up.aggregates[timeframe].table}"
        f" WHERE {whose} ORDER BY ts LIMIT 1)"
        for timeframe in timeframes
        if timeframe is not Timeframe.S1
    ]
    return " UNION ALL ".join(parts)


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


def _longer_than_seconds(of: Instrument, timeframe: Timeframe, ranges: Sequence[OpenRange]) -> str:
    return (
        f"SELECT timeframe, {_PARTS} FROM candles WHERE {instrument_condition(of)}"
        f" AND timeframe > 1 AND timeframe < {sql_literal(timeframe.value)} AND {within(ranges)}"
    )


def _seconds(
    of: Instrument, timeframe: Timeframe, ranges: Sequence[OpenRange], rolled_up: RolledUp, closed: str = ""
) -> list[str]:
    """Return the queries of the 1s candles in some ranges, minutes in their place where those are clean."""
    clean = () if timeframe is Timeframe.M1 else rolled_up.clean_in(ranges, Timeframe.M1)
    left = without(ranges, ((opens.start or _EARLIEST, opens.end) for opens in clean))
    whose = instrument_condition(of)
    parts = []
    if clean:
        table = rolled_up.aggregates[Timeframe.M1].table
        parts.append(f"SELECT 1 AS timeframe, {_PARTS} FROM {table} WHERE {whose} AND {within(clean)}")
    if left:
        seconds = f"{whose} AND timeframe = 1 AND {within(left)}{closed}"
        parts.append(f"SELECT timeframe, {_PARTS} FROM candles WHERE {seconds}")
    return parts


def _best_roll_up(lower: str) -> str:
    """Return the query of candles, made of rows that each name the `length` and the `bucket` of the one they belong to."""
    return f"""
        SELECT DISTINCT ON (length, bucket)
            length, bucket AS ts, open, high, low, close, volume, trade_count, weight, timeframe AS made_of
        FROM (
            SELECT length, bucket, timeframe,
                first(open, ts) AS open, max(high) AS high, min(low) AS low, last(close, ts) AS close,
                sum(volume)::bigint AS volume,
                CASE WHEN count(trade_count) = count(*) THEN sum(trade_count) END AS trade_count,
                count(*) FILTER (WHERE timeframe >= 60) * timeframe / 60
                    + count(DISTINCT date_trunc('minute', ts)) FILTER (WHERE timeframe < 60) AS weight
            FROM ({lower}) AS lower
            GROUP BY length, bucket, timeframe
        ) AS by_timeframe
        ORDER BY length, bucket, weight DESC, timeframe
    """


def _select_list(chosen: CandleSelection) -> str:
    return ", ".join(["ts", *(_SELECTED.get(name, name) for name in chosen.values)])


def _order(chosen: CandleSelection) -> str:
    return last_rows(chosen.limit, ("ts",))
