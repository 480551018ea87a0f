"""Symbol and timeframe, where records carry them: those that the batch is said to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation.raw_columns import is_absent
from datalayer.domain.validation.rules import Rule
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.validation.findings import Findings
    from datalayer.domain.validation.raw_columns import RawColumns


def check_labels(
    raw: RawColumns, findings: Findings, instrument: Instrument, timeframe: Timeframe | None = None
) -> None:
    """Refuse rows of another symbol or timeframe; a row that carries none is taken to be of this one."""
    if "symbol" in raw:
        _check(raw["symbol"], findings, Rule.SYMBOL, "symbol", lambda text: _is_symbol(text, instrument))
    if "timeframe" in raw and timeframe is not None:
        _check(
            raw["timeframe"],
            findings,
            Rule.TIMEFRAME,
            "timeframe",
            lambda text: _is_timeframe(text, timeframe),
        )


def _check(column: Any, findings: Findings, rule: Rule, field: str, fits: Callable[[Any], bool]) -> None:
    values = np.asarray(column, dtype=object)
    wrong = np.zeros(len(values), dtype=bool)
    known: dict[Any, bool] = {}
    for row, value in enumerate(values):
        if isinstance(value, str | Timeframe):
            if value not in known:
                known[value] = _fits(fits, value)
            wrong[row] = not known[value]
        else:
            wrong[row] = not is_absent(value)
    findings.refuse(wrong, rule, field)


def _fits(fits: Callable[[Any], bool], value: Any) -> bool:
    try:
        return fits(value)
    except InvalidInputError:
        return False


def _is_symbol(text: Any, instrument: Instrument) -> bool:
    if not isinstance(text, str):
        return False
    # OMGBUSD alone could be OMGB/USD; of OMG/BUSD it is the joined spelling.
    joined = instrument.symbol.replace("/", "")
    return text.strip().upper() == joined or canonical_symbol(text) == instrument.symbol


def _is_timeframe(text: Any, timeframe: Timeframe) -> bool:
    return Timeframe.parse(text) is timeframe
