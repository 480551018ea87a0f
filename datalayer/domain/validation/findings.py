"""What was found wrong with the rows of one batch, by the first rule that each row breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.validation.rules import Rule


class Findings:
    """Refusals of a batch. The first refusal of a row stays: rules are asked from the most basic one on.

    Attributes:
        broken: rule and field of each kind of refusal that was met.
        codes: int32 `[n]`; 0 for a row that is accepted so far, else the place in `broken`, counted from one.
        levels: int64 `[n]`; the level of an order book's side at which the rule is broken, -1 where it is none.
    """

    def __init__(self, rows: int) -> None:
        self.broken: list[tuple[Rule, str]] = []
        self.codes: NDArray[np.int32] = np.zeros(rows, dtype=np.int32)
        self.levels: NDArray[np.int64] = np.full(rows, -1, dtype=np.int64)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Rows that broke no rule so far, bool `[n]`."""
        accepted: NDArray[np.bool_] = self.codes == 0
        return accepted

    def refuse(
        self, wrong: NDArray[Any], rule: Rule, field: str, levels: NDArray[np.int64] | None = None
    ) -> None:
        """Refuse rows.

        Args:
            wrong: bool `[n]`.
            rule: what they break.
            field: in which column.
            levels: at which level, int64 `[n]`, where the column has levels.
        """
        if not wrong.any():
            return
        first = wrong & self.accepted
        self.broken.append((rule, field))
        self.codes[first] = len(self.broken)
        if levels is not None:
            self.levels[first] = levels[first]
