"""The windows of our own policies: in the order of the aggregates, and guarded against contradiction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datalayer.db.aggregates import AGGREGATES, SETTLED_AFTER
from datalayer.db.dirty_ranges import LATE_AFTER
from datalayer.errors import ConfigurationError
from datalayer.models import Base, OrderBook
from datalayer.timescale import (
    CompressionPolicy,
    RefreshPolicy,
    RetentionPolicy,
    find_hypertable,
    list_aggregates,
)
from datalayer.timescale.intervals import Interval
from datalayer.timescale.lint import refuse_contradictions

DECLARED = list_aggregates(Base.metadata)


def test_retention_inside_the_refresh_window_is_refused_on_our_own_tables() -> None:
    order_books = find_hypertable(OrderBook.__table__)
    assert order_books is not None
    policies = (
        CompressionPolicy(compress_after="40 minutes"),
        RetentionPolicy(drop_after="50 minutes"),
    )
    with pytest.raises(
        ConfigurationError,
        match=r"order_books\.retention\.drop_after=50 minutes must be longer than order_book_1s\.refresh\.start_offset=36 hours",
    ):
        refuse_contradictions([replace(order_books, policies=policies), *DECLARED])


def test_the_aggregates_are_refreshed_in_the_order_in_which_they_read_each_other() -> None:
    listed = [(level.name, level.bucket) for family in AGGREGATES.values() for level in family]
    assert listed == [(spec.name, spec.bucket and spec.bucket.microseconds // 1_000_000) for spec in DECLARED]
    for family, levels in AGGREGATES.items():
        names = [family, *(level.name for level in levels)]
        sources = [spec.sources for spec in DECLARED if spec.name in names]
        assert sources == [((None, name),) for name in names[:-1]]


def test_no_policy_materialises_what_a_live_feed_may_still_be_writing() -> None:
    ends = {
        spec.name: policy.end_offset
        for spec in DECLARED
        for policy in spec.policies
        if isinstance(policy, RefreshPolicy)
    }
    assert ends.keys() == {level.name for family in AGGREGATES.values() for level in family}
    settled = Interval.of(SETTLED_AFTER).size
    assert all(end is not None and Interval.of(end).size >= settled for end in ends.values())
    assert LATE_AFTER < SETTLED_AFTER
