"""Migrations run by a role that owns its schema and is no superuser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData, create_engine

from datalayer.timescale import CompressionPolicy, RefreshPolicy, RetentionPolicy
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.timescale.project import AlembicProject

COMPRESS = CompressionPolicy(compress_after="20 days")


def declare(function: str, keep: str) -> MetaData:
    metadata = MetaData()
    ageing = [COMPRESS, RetentionPolicy(drop_after=keep)]
    table = readings(metadata, hypertable={"compression": BY_DEVICE, "policies": ageing})
    policy = RefreshPolicy(start_offset="10 days", end_offset="1 day", schedule_interval="1 hour")
    policies = [policy, COMPRESS]
    hourly = rolled_up(table, "hourly", "1 hour", function, compression=BY_DEVICE, policies=policies)
    rolled_up(hourly, "daily", "1 day", function, policies=[policy])
    return metadata


@pytest.fixture
def owned(project: AlembicProject, own_schema: str, search_path: str) -> Iterator[AlembicProject]:
    project.execute(
        f"CREATE ROLE {own_schema} LOGIN PASSWORD 'own'", f"ALTER SCHEMA {own_schema} OWNER TO {own_schema}"
    )
    administrator = project.engine
    address = administrator.url.set(username=own_schema, password="own")  # noqa: S106 (of a role that this test makes)
    options = f"-csearch_path={search_path.replace(' ', '')}"
    project.engine = create_engine(address, connect_args={"options": options})
    yield project
    project.engine.dispose()
    project.engine = administrator
    project.drop()
    project.execute(f"DROP OWNED BY {own_schema}", f"DROP ROLE {own_schema}")


@pytest.mark.native
def test_round_trip_by_an_ordinary_role(owned: AlembicProject) -> None:
    assert owned.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]
    first, second = declare("max", "60 days"), declare("min", "70 days")
    plain = MetaData()
    readings(plain, hypertable=None)
    owned.migrate(first)
    owned.execute(FILL, compress("readings"), *refresh("hourly", "daily"), compress("hourly"))
    rows = owned.rows(ALL)
    owned.migrate(second)
    owned.migrate(plain)
    assert owned.rows(ALL) == rows
    for metadata in (second, first):
        owned.downgrade("-1")
        assert owned.differences(metadata) == []
        assert owned.rows(ALL) == rows
    owned.downgrade("-1")
    assert owned.differences(MetaData()) == []
