"""Events as bytes: fixed little-endian layouts of exact counts, so that a batch of them is a numpy array at once.

The layouts belong to the format of the outbox's file (`datalayer.ingestion.outbox_file.FORMAT`). `stream` is the number of a
label there: a symbol with the scales that its counts are in.
"""

from __future__ import annotations

import json
import struct
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.validation.plain import OrderBookSteps
from datalayer.repositories.reject_rows import KeptReject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datalayer.domain.validation.plain import CandleSteps, TradeSteps

_INT8: Final = "<i8"
CANDLE_DTYPE: Final = np.dtype(
    [
        ("stream", "<u4"),
        ("timeframe", "<u4"),
        *((name, _INT8) for name in ("ts", "open", "high", "low", "close", "volume")),
        ("trade_count", "<i4"),
    ]
)
TRADE_DTYPE: Final = np.dtype(
    [("stream", "<u4"), *((name, _INT8) for name in ("ts", "trade_id", "price", "size")), ("side", "i1")]
)
IMBALANCE_DTYPE: Final = np.dtype([("stream", "<u4"), ("ts", _INT8), *((name, "<f8") for name in IMBALANCES)])

_CANDLE: Final = struct.Struct("<IIqqqqqqi")
_TRADE: Final = struct.Struct("<Iqqqqb")
_IMBALANCE: Final = struct.Struct("<Iq8d")
_BOOK: Final = struct.Struct("<IqqII")


def encode_candle(stream: int, timeframe_s: int, steps: CandleSteps) -> bytes:
    """Return a candle; see `CANDLE_DTYPE`."""
    return _CANDLE.pack(stream, timeframe_s, *steps)


def encode_trade(stream: int, steps: TradeSteps) -> bytes:
    """Return a trade; see `TRADE_DTYPE`."""
    return _TRADE.pack(stream, *steps)


def encode_imbalances(stream: int, ts_us: int, values: Sequence[float]) -> bytes:
    """Return the eight imbalances of one moment, in the order of `IMBALANCES`; see `IMBALANCE_DTYPE`."""
    return _IMBALANCE.pack(stream, ts_us, *values)


def encode_order_book(stream: int, steps: OrderBookSteps) -> bytes:
    """Return a snapshot: stream, time, update id, numbers of levels, then bid prices and sizes, ask prices and sizes."""
    levels = steps[2:]
    head = _BOOK.pack(stream, steps.ts, steps.last_update_id, len(levels[0]), len(levels[2]))
    return head + np.concatenate(levels).astype(_INT8, copy=False).tobytes()


def decode_rows(payloads: Sequence[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return events of a fixed layout as a structured array, read-only."""
    return np.frombuffer(b"".join(payloads), dtype=dtype)


def decode_order_book(payload: bytes) -> tuple[int, OrderBookSteps]:
    """Return the stream and the snapshot."""
    stream, ts, update_id, bids, asks = _BOOK.unpack_from(payload)
    levels = np.frombuffer(payload, dtype=_INT8, offset=_BOOK.size)
    places = np.cumsum([bids, bids, asks])
    return stream, OrderBookSteps(ts, update_id, *np.split(levels, places))


def encode_reject(kept: KeptReject) -> bytes:
    """Return a rejected record: a JSON list in ASCII, a NUL, and the payload that quarantine keeps."""
    ts = None if kept.ts is None else kept.ts.isoformat()
    head = [kept.kind, kept.symbol, ts, kept.source, kept.rule, kept.field, kept.value, kept.message]
    return json.dumps(head).encode("ascii") + b"\0" + kept.payload


def decode_reject(payload: bytes) -> KeptReject:
    """Return the rejected record."""
    head, _, kept = payload.partition(b"\0")
    kind, symbol, ts, source, rule, field, value, message = json.loads(head)
    moment = None if ts is None else datetime.fromisoformat(ts)
    return KeptReject(kind, symbol, moment, source, rule, field, value, message, kept)
