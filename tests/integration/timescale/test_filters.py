"""What the `include_object` of an `env.py` leaves out of the comparison stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import MetaData

from tests.integration.timescale.declared import readings, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject


def declare() -> MetaData:
    metadata = MetaData()
    rolled_up(readings(metadata), "hourly", "1 hour")
    return metadata


def only_declared(_object: Any, _name: str, _kind: str, reflected: bool, other: Any) -> bool:
    """As Alembic's documents leave alone what the models do not know."""
    return not (reflected and other is None)


def no_aggregates(_object: Any, _name: str, kind: str, *_: Any) -> bool:
    return kind != "continuous_aggregate"


def unless_marked(object_: Any, *_: Any) -> bool:
    return not object_.info.get("by hand")


def test_what_the_models_do_not_know_is_left_alone(project: AlembicProject) -> None:
    project.migrate(declare())
    project.include_object = only_declared
    assert project.differences(MetaData()) == []
    project.check(declare())
    plain = MetaData()
    readings(plain, hypertable=None)
    assert [difference[0] for difference in project.differences(plain)] == ["drop_hypertable"], "it is known"


@pytest.mark.parametrize("filtered", [no_aggregates, unless_marked])
def test_what_the_models_know_is_left_alone(project: AlembicProject, filtered: Any) -> None:
    metadata = MetaData()
    marked = {"by hand": True}
    table = readings(metadata)
    rolled_up(table, "hourly", "1 hour").info.update(marked)
    project.include_object = filtered
    written = project.migrate(metadata)
    assert "continuous_aggregate" not in written
    assert ("create_hypertable" in written) is ("readings" not in marked)
    project.include_object = None
    assert [difference[0] for difference in project.reported(metadata)] == ["create_continuous_aggregate"]
    project.migrate(metadata)
    project.include_object = filtered
    assert project.differences(metadata) == []
