"""A digest inside of bytes, so that altered ones are refused before a parser sees them.

Arrow IPC has no check sums: a wrong bit is another price, or ends the process inside of the library. Those of Parquet do not
cover its footer, which says how many values and nulls there are.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from datalayer.errors import InvalidInputError

_DIGEST_BYTES: Final = 16
_MAGIC: Final = b"PAR1"
_ENDING_BYTES: Final = 8


def sealed(data: bytes, *, tail_bytes: int) -> bytes:
    """Return the bytes with a digest before the last `tail_bytes` of them."""
    cut = len(data) - tail_bytes
    return data[:cut] + _digest(data) + data[cut:]


def unsealed(data: object, *, tail_bytes: int) -> bytes:
    """Return the bytes that `sealed` was given.

    Raises:
        InvalidInputError: these are no bytes, or not the very ones that were sealed.
    """
    if isinstance(data, bytes) and len(data) >= tail_bytes + _DIGEST_BYTES:
        cut = len(data) - tail_bytes
        plain = data[: cut - _DIGEST_BYTES] + data[cut:]
        if _digest(plain) == data[cut - _DIGEST_BYTES : cut]:
            return plain
    hint = "are no bytes that this library wrote, or they were altered or cut off"
    raise InvalidInputError("data", type(data).__name__, hint)


def parquet_footer_bytes(data: object) -> int:
    """Return the length of a Parquet file's footer, its length field and ending included; 0 if it can have none."""
    if not isinstance(data, bytes) or len(data) < _ENDING_BYTES or data[-len(_MAGIC) :] != _MAGIC:
        return 0
    return int.from_bytes(data[-_ENDING_BYTES : -len(_MAGIC)], "little") + _ENDING_BYTES


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()
