"""The scales of an instrument, from what Binance spot says of it.

Format: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints#exchange-information and
https://developers.binance.com/docs/binance-spot-api-docs/filters
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from datalayer.domain.instrument import ListedInstrument
from datalayer.domain.scales import Scales, scale_of_step
from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError
from datalayer.integrations.fields import fault, parse_json, read, read_text, to_e8

_STEPS: Final = {"tickSize": "PRICE_FILTER", "stepSize": "LOT_SIZE"}


def read_exchange_info(document: str | bytes | Mapping[str, Any], symbol: str) -> ListedInstrument:
    """Read one instrument from the answer to `GET /api/v3/exchangeInfo`.

    Args:
        document: JSON, or the object that it says.
        symbol: in any known spelling.

    Raises:
        InvalidInputError: the instrument is not listed, or names the field that is malformed.
    """
    wanted = canonical_symbol(symbol)
    listed = read(_parsed(document), "symbols", "symbols")
    if not isinstance(listed, list):
        raise fault("symbols", listed, "must be a list")
    for entry in listed:
        if isinstance(entry, dict) and f"{entry.get('baseAsset')}/{entry.get('quoteAsset')}" == wanted:
            return _listed(wanted, entry)
    raise InvalidInputError("symbol", symbol, "not in this exchangeInfo")


def _parsed(document: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    parsed = parse_json(document, "exchangeInfo") if isinstance(document, str | bytes) else document
    if not isinstance(parsed, Mapping):
        raise fault("exchangeInfo", parsed, "must be a JSON object")
    return parsed


def _listed(symbol: str, entry: Mapping[str, Any]) -> ListedInstrument:
    steps = {name: _step(entry, kind, name) for name, kind in _STEPS.items()}
    scales = Scales(scale_of_step(steps["tickSize"]), scale_of_step(steps["stepSize"]))
    return ListedInstrument(symbol, scales, {"exchange_symbol": read_text(entry, "symbol", "symbol")} | steps)


def _step(entry: Mapping[str, Any], kind: str, name: str) -> str:
    filters = read(entry, "filters", "filters")
    if not isinstance(filters, list):
        raise fault("filters", filters, "must be a list")
    found = next((f for f in filters if isinstance(f, dict) and f.get("filterType") == kind), None)
    if found is None:
        raise fault("filters", [kind], "is not among the filters of this instrument")
    step: str = read(found, name, name)
    if to_e8(step, name) == 0:
        raise fault(
            name, step, "is switched off for this instrument; take its scales from a scan of the data"
        )
    return step
