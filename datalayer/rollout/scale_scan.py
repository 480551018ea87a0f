"""The scales that the files of an instrument need, found before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.scales import Scales
from datalayer.domain.steps import MAX_INFERRED_SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.rollout.record_kinds import RecordKind

_SAFE: Final = 2.0**51


@dataclass(slots=True)
class NeededScales:
    """The decimals of what was looked at; keeps no data.

    Attributes:
        price: digits of the prices.
        size: digits of the sizes.
        unfit: values that no scale up to 12 digits holds exactly, such as sums of floats; their rows will be refused.
    """

    price: int = 0
    size: int = 0
    unfit: int = field(default=0)

    def add(self, kind: RecordKind, raw: dict[str, Any]) -> None:
        """Look at a piece as `read_pieces` yields it."""
        for name in kind.prices & raw.keys():
            self.price = max(self.price, self._digits(raw[name]))
        for name in kind.sizes & raw.keys():
            self.size = max(self.size, self._digits(raw[name]))

    def join(self, other: NeededScales) -> None:
        """Add what another one has found."""
        self.price, self.size = max(self.price, other.price), max(self.size, other.size)
        self.unfit += other.unfit

    @property
    def scales(self) -> Scales:
        """As scales."""
        return Scales(self.price, self.size)

    def _digits(self, values: Any) -> int:
        array = np.asarray(values)
        if array.dtype == object and len(array) and isinstance(array[0], np.ndarray):
            array = np.concatenate(array)
        if array.dtype == object:
            return self._digits_of_objects(array)
        return self._digits_of_floats(array.astype(np.float64))

    def _digits_of_floats(self, values: NDArray[np.float64]) -> int:
        left, digits = values[np.isfinite(values)], 0
        for scale in range(MAX_INFERRED_SCALE + 1):
            factor = 10.0**scale
            counts = np.rint(left * factor)
            exact = (np.abs(counts) < _SAFE) & (counts / factor == left)
            if exact.any():
                left, digits = left[~exact], scale
            if not len(left):
                break
        self.unfit += len(left)
        return digits

    def _digits_of_objects(self, values: NDArray[Any]) -> int:
        numbers = [value for value in values if isinstance(value, Decimal) and value.is_finite()]
        digits = [max(-int(number.normalize().as_tuple().exponent), 0) for number in numbers]
        fit = [count for count in digits if count <= MAX_INFERRED_SCALE]
        self.unfit += len(digits) - len(fit)
        return max(fit, default=0)
