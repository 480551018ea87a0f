"""What the commands that show market data are asked for, read from text."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from datalayer.domain import indicators
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datalayer.domain.indicators import Indicator

Symbol = Annotated[str, typer.Argument(help="In any known spelling: BTC/USDT, BTCUSDT, btc-usdt.")]
Start = Annotated[
    str | None, typer.Option(help="First time, with its zone, included: 2024-08-08T10:00Z.", metavar="TIME")
]
End = Annotated[
    str | None, typer.Option(help="End of the times, excluded. Default: the last one.", metavar="TIME")
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only the last so many. Default: 20 if there is no --start.")
]
AsOf = Annotated[
    str | None, typer.Option(help="Only what was visible at this time. Default: now.", metavar="TIME")
]
At = Annotated[str | None, typer.Option(help="The moment, with its zone. Default: now.", metavar="TIME")]

DEFAULT_LIMIT: Final = 20

_INDICATORS: Final = {
    "atr": indicators.Atr,
    "bollinger": indicators.BollingerBands,
    "ema": indicators.Ema,
    "macd": indicators.Macd,
    "obv": indicators.Obv,
    "rsi": indicators.Rsi,
    "sma": indicators.Sma,
    "vwap": indicators.Vwap,
}


def moment(text: str | None, field: str) -> datetime | None:
    """Return a time as ISO 8601 writes it; a naive one goes on, to be refused where it is used.

    Raises:
        InvalidInputError: it is no such time.
    """
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidInputError(field, text, "write a time with its zone, as in 2024-08-08T10:00Z") from exc


def indicator(text: str) -> Indicator:
    """Return what `ema`, `ema:50` or `macd:12,26,9` names: parameters in their order, the others as they are by default.

    Raises:
        InvalidInputError: there is no such indicator, or its parameters are others.
    """
    name, _, listed = text.partition(":")
    if name not in _INDICATORS:
        raise InvalidInputError("indicator", text, f"use {', '.join(_INDICATORS)}; ema:50, macd:12,26,9")
    try:
        made: Indicator = _INDICATORS[name](*map(_number, listed.split(",") if listed else ()))
    except InvalidInputError:
        raise
    except (TypeError, ValueError) as exc:
        hint = "give its numbers in their order, as in ema:50 or macd:12,26,9"
        raise InvalidInputError("indicator", text, hint) from exc
    return made


def _number(text: str) -> float:
    return int(text) if text.strip().isdigit() else float(text)


def last_rows(start: str | None, limit: int | None) -> int | None:
    """Return how many rows are wanted: all of a range, else the last few."""
    return DEFAULT_LIMIT if start is None and limit is None else limit
