"""Three levels of aggregates, changed at the bottom, in the middle and at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Double, MetaData, func

from datalayer.timescale import RefreshPolicy
from tests.integration.timescale.declared import BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from sqlalchemy import Table

    from tests.integration.timescale.project import AlembicProject

LEVELS = {"hourly": "1 hour", "daily": "1 day", "monthly": "1 month"}


def expected(level: str, function: str = "max", column: str = "value") -> str:
    return f"SELECT date_trunc('{LEVELS[level].split()[1]}', ts) AS ts, device, {function}({column}) FROM readings GROUP BY 1, 2 ORDER BY 1, 2"


def declare(
    function: str = "max",
    levels: tuple[str, ...] = tuple(LEVELS),
    *,
    humidity: bool = False,
    **arguments: Any,
) -> MetaData:
    """A hierarchy; with `humidity` the table has one column more, rolled up through all levels."""
    metadata = MetaData()
    further = [Column("humidity", Double)] if humidity else []
    source: Table = readings(metadata, *further, hypertable={"compression": BY_DEVICE})
    for number, name in enumerate(levels, 1):
        columns = [func.max(source.c.humidity).label("humidity")] if humidity else []
        policy = RefreshPolicy(
            start_offset="1 year", end_offset=f"{number} months", schedule_interval="1 hour"
        )
        source = rolled_up(
            source, name, LEVELS[name], function, columns=columns, policies=[policy], **arguments
        )
    return metadata


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    project.migrate(declare())
    project.execute(FILL, compress("readings"), *refresh(*LEVELS))
    return project


def assert_rolled_up(
    project: AlembicProject, function: str = "max", levels: tuple[str, ...] = tuple(LEVELS)
) -> None:
    for name in levels:
        rows = project.rows(f"SELECT ts, device, value FROM {name} ORDER BY ts, device")
        assert rows == project.rows(expected(name, function)), name
        assert rows


def test_round_trip_of_a_hierarchy(project: AlembicProject) -> None:
    before = project.traces()
    written = project.migrate(declare())
    order = [written.index(f"op.create_continuous_aggregate(\n        '{name}'") for name in LEVELS]
    assert order == sorted(order), "sources before what reads them"
    order = [written.index(f"op.drop_continuous_aggregate('{name}'") for name in LEVELS]
    assert order == sorted(order, reverse=True)
    project.execute(FILL, *refresh(*LEVELS))
    assert_rolled_up(project)
    project.migrate(MetaData())
    project.downgrade("-1")
    assert project.differences(declare()) == []
    project.downgrade("-1")
    assert project.traces() == before


def test_a_change_at_the_bottom_rebuilds_what_is_above(filled: AlembicProject) -> None:
    changed = declare("min")
    written = filled.migrate(changed)
    assert written.count("op.replace_continuous_aggregates(") == 2
    assert_rolled_up(filled, "min")
    filled.downgrade("-1")
    assert filled.differences(declare()) == []
    assert_rolled_up(filled)


def test_a_column_is_added_rolled_up_and_removed(filled: AlembicProject) -> None:
    filled.migrate(declare(humidity=True))
    assert_rolled_up(filled)
    filled.execute(
        "INSERT INTO readings VALUES ('2024-03-06 10:00Z', 1, 5, 80), ('2024-03-06 10:30Z', 1, 6, 81)",
        *refresh(*LEVELS),
    )
    assert filled.rows("SELECT value, humidity FROM daily WHERE humidity IS NOT NULL") == [(6, 81)]
    written = filled.migrate(declare())
    assert written.index("op.replace_continuous_aggregates(") < written.index(
        "op.drop_column('readings', 'humidity'"
    )
    assert_rolled_up(filled)

    filled.downgrade("-1")
    assert filled.differences(declare(humidity=True)) == []
    assert_rolled_up(filled)
    filled.downgrade("-1")
    assert filled.differences(declare()) == []
    assert_rolled_up(filled)


def test_a_child_goes_while_its_parent_changes(filled: AlembicProject) -> None:
    filled.migrate(declare("min", ("hourly", "daily")))
    assert_rolled_up(filled, "min", ("hourly", "daily"))
    filled.downgrade("-1")
    assert filled.differences(declare()) == []
    assert_rolled_up(filled, levels=("hourly", "daily"))
    filled.execute(*refresh("monthly"))
    assert_rolled_up(filled)


def test_a_level_in_the_middle_goes_and_comes(filled: AlembicProject) -> None:
    filled.migrate(declare(levels=("hourly", "monthly")))
    assert_rolled_up(filled, levels=("hourly", "monthly"))
    filled.migrate(declare())
    assert_rolled_up(filled)
    filled.downgrade("-1")
    assert filled.differences(declare(levels=("hourly", "monthly"))) == []
    assert_rolled_up(filled, levels=("hourly", "monthly"))
    filled.downgrade("-1")
    assert filled.differences(declare()) == []
    assert_rolled_up(filled)
