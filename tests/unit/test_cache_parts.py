"""The parts below the cache: the columns that slide, and the exact sum of volumes."""

from __future__ import annotations

from decimal import Decimal

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from datalayer.cache.column_ring import ColumnRing
from datalayer.cache.rows import exact_total
from datalayer.domain.steps import from_steps


class RingMachine(RuleBasedStateMachine):
    """Columns against a sorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = ColumnRing(2, 1)
        self.rows: list[tuple[int, int, float]] = []

    @rule(time=st.integers(0, 200), value=st.integers(0, 9))
    def insert_or_replace(self, time: int, value: int) -> None:
        position = self.ring.find(time)
        assert position == sum(row[0] < time for row in self.rows)
        row = (time, value, value / 2)
        if self.ring.has(position, time):
            self.ring.replace(position, row[:2], row[2:])
            self.rows[position] = row
        else:
            self.ring.insert(position, row[:2], row[2:])
            self.rows.insert(position, row)

    @rule(count=st.integers(1, 150))
    def append(self, count: int) -> None:
        for _ in range(count):
            row = (self.rows[-1][0] + 1 if self.rows else 0, 1, 0.5)
            self.ring.insert(len(self.rows), row[:2], row[2:])
            self.rows.append(row)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.rows) - 1))
        self.ring.delete(position)
        del self.rows[position]

    @rule(share=st.floats(0, 1))
    def drop(self, share: float) -> None:
        count = int(share * len(self.rows))
        self.ring.drop_first(count)
        del self.rows[:count]

    @invariant()
    def holds_the_rows(self) -> None:
        ints, floats = self.ring.copied(0, len(self.ring))
        assert list(zip(*ints.tolist(), *floats.tolist(), strict=True)) == self.rows
        assert self.ring.newest == (self.rows[-1][0] if self.rows else None)
        assert not self.ring.has(len(self.rows), self.rows[-1][0] if self.rows else 0)

    @invariant()
    def takes_no_more_than_it_needs(self) -> None:
        self.peak = max(getattr(self, "peak", 0), len(self.rows))
        assert self.ring.nbytes <= 24 * max(64, 2 * self.peak)


TestRing = RingMachine.TestCase


@given(
    st.lists(st.integers(0, 2**52), min_size=1, max_size=80),
    st.integers(0, 12),
)
def test_the_total_is_that_of_the_database(steps: list[int], scale: int) -> None:
    sizes = from_steps(np.array(steps), scale)
    expected = from_steps(np.array([sum(steps)], np.int64), scale) if sum(steps) < 2**63 else None
    total = exact_total(sizes)
    if expected is not None:
        assert total == expected[0]


@given(st.lists(st.floats(0, 1e15), min_size=1, max_size=40))
def test_the_total_is_exact_for_any_floats(sizes: list[float]) -> None:
    assert exact_total(np.array(sizes)) == float(sum((Decimal(repr(size)) for size in sizes), Decimal(0)))
