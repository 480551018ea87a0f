"""Rows of one key in a batch, and rows out of order.

A batch is validated to what writing its rows one by one would leave in the database, where a candle updates the one of
its key and a trade or an order book of a stored key is ignored: the last candle of a key wins, the first trade and the
first book. No other row of that key may vanish without a trace:

- it repeats the winner entirely: dropped, and told as `Notice.DUPLICATE`;
- it is a candle that the winner continues (same open, no lower high, no higher low, no smaller volume and trade count),
  as the messages of a forming candle are: dropped, and told as `Notice.REVISION`;
- anything else contradicts the winner, and one of the two is wrong: rejected by `Rule.NO_CONFLICT`, so that it is kept.

Rows that another rule refused take no part: a broken row neither wins nor makes a good one a duplicate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from datalayer.domain.validation.result import ValidationWarning
from datalayer.domain.validation.rules import Notice, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from datalayer.domain.validation.findings import Findings


class Batch:
    """The order of a batch and its rows of equal key.

    Args:
        findings: tells which rows take part, and takes the refusals.
        key: columns of the key, the first one the most significant, int64 `[n]` each.

    Attributes:
        kept: positions of the accepted rows in the order of their key, int64; after `settle`, each key once.
        dropped: positions of the rows that need no storing, int64, ascending.
        warnings: disorder, duplicates, revisions.
    """

    def __init__(self, findings: Findings, key: Sequence[NDArray[np.int64]]) -> None:
        rows = np.flatnonzero(findings.accepted)
        values = [column[rows] for column in key]
        behind = _behind(values)
        self.warnings: list[ValidationWarning] = []
        self.dropped: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        if behind.any():
            self._tell(Notice.DISORDER, rows[1:][behind])
            order = np.lexsort((np.arange(len(rows)), *reversed(values)))
            rows, values = rows[order], [column[order] for column in values]
        self.kept: NDArray[np.int64] = rows
        self._findings = findings
        self._repeats = _repeats(values)

    def settle(
        self,
        columns: Mapping[str, Sequence[NDArray[np.int64]]],
        *,
        winner: Literal["first", "last"],
        continues: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]] | None = None,
    ) -> None:
        """Leave one row of each key in `kept`.

        Args:
            columns: by field, what makes two rows the same: arrays `[n]` or `[n, levels]`.
            winner: which row of a key is kept.
            continues: tells of pairs of positions whether the second row is a later state of the first.
        """
        if not self._repeats.any():
            return
        begins = np.append(True, ~self._repeats)
        group = np.cumsum(begins) - 1
        wins = begins if winner == "first" else np.append(~self._repeats, True)
        winners = self.kept[wins][group][~wins]
        others = self.kept[~wins]
        self.kept = self.kept[wins]
        self._judge(others, winners, columns, continues)

    def _judge(
        self,
        others: NDArray[np.int64],
        winners: NDArray[np.int64],
        columns: Mapping[str, Sequence[NDArray[np.int64]]],
        continues: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]] | None,
    ) -> None:
        differs = {field: _differ(arrays, others, winners) for field, arrays in columns.items()}
        equal = ~np.logical_or.reduce(list(differs.values()))
        earlier = ~equal & continues(others, winners) if continues else np.zeros(len(others), dtype=bool)
        self._tell(Notice.DUPLICATE, np.sort(others[equal]))
        self._tell(Notice.REVISION, np.sort(others[earlier]))
        self.dropped = np.sort(others[equal | earlier])
        for field, differ in differs.items():
            wrong = np.zeros(len(self._findings.codes), dtype=bool)
            wrong[others[differ & ~earlier]] = True
            self._findings.refuse(wrong, Rule.NO_CONFLICT, field)

    def _tell(self, notice: Notice, rows: NDArray[np.int64]) -> None:
        if len(rows):
            self.warnings.append(ValidationWarning(notice, "ts", rows, rows))


def _behind(key: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Tell of each row but the first whether its key is less than that of the row before it."""
    less = np.zeros(max(len(key[0]) - 1, 0), dtype=bool)
    for column in reversed(key):
        less = (column[1:] < column[:-1]) | ((column[1:] == column[:-1]) & less)
    return less


def _repeats(key: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Tell of each row but the first whether its key is that of the row before it."""
    equal = np.ones(max(len(key[0]) - 1, 0), dtype=bool)
    for column in key:
        equal &= column[1:] == column[:-1]
    return equal


def _differ(
    arrays: Sequence[NDArray[np.int64]], rows: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.bool_]:
    differs = np.zeros(len(rows), dtype=bool)
    for array in arrays:
        unequal = array[rows] != array[others]
        differs |= unequal.any(axis=1) if unequal.ndim > 1 else unequal
    return differs
