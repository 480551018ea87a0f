"""Compression on, changed and off again, on chunks that are compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from datalayer.timescale import Compression, CompressionPolicy, PolicyKind, list_chunks, list_jobs
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

OTHERWISE = Compression(order_by=["device", "ts DESC NULLS LAST"])
POLICY = CompressionPolicy(compress_after="30 days")


def declare(compression: Compression | None = None, *policies: CompressionPolicy) -> MetaData:
    metadata = MetaData()
    table = readings(metadata, hypertable={"compression": compression, "policies": policies})
    rolled_up(table, "hourly", "1 hour", compression=compression)
    return metadata


def compressed(project: AlembicProject, relation: str = "readings") -> list[bool]:
    with project.engine.connect() as connection:
        return [chunk.is_compressed for chunk in list_chunks(connection, relation)]


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    project.migrate(declare())
    project.execute(FILL, *refresh("hourly"))
    return project


HOURLY = ALL.replace("readings", "hourly")


def test_round_trip_of_compression(project: AlembicProject) -> None:
    before = project.traces()
    project.migrate(declare())
    project.execute(FILL, *refresh("hourly"))
    rows, hourly = project.rows(ALL), project.rows(HOURLY)

    written = project.migrate(declare(BY_DEVICE))
    assert written.count("op.enable_compression(") == written.count("op.disable_compression(") == 2
    project.execute(compress("readings"), compress("hourly"))
    assert set(compressed(project)) == set(compressed(project, "hourly")) == {True}
    assert (project.rows(ALL), project.rows(HOURLY)) == (rows, hourly)

    changed = project.migrate(declare(OTHERWISE))
    assert "order_by=['device', 'ts DESC NULLS LAST']" in changed
    assert (project.rows(ALL), project.rows(HOURLY)) == (rows, hourly)

    project.migrate(declare())
    assert set(compressed(project)) == set(compressed(project, "hourly")) == {False}
    assert (project.rows(ALL), project.rows(HOURLY)) == (rows, hourly)

    for declared in (OTHERWISE, BY_DEVICE, None):
        project.downgrade("-1")
        assert project.differences(declare(declared)) == []
        assert (project.rows(ALL), project.rows(HOURLY)) == (rows, hourly)
    project.downgrade("-1")
    assert project.traces() == before


def test_a_policy_is_paused_while_chunks_are_decompressed(filled: AlembicProject) -> None:
    filled.migrate(declare(BY_DEVICE, POLICY))
    filled.execute(compress("readings"))
    # The revision fails after it: what was decompressed was committed chunk by chunk, the rest is rolled back.
    with pytest.raises(DBAPIError, match="division by zero"):
        filled.run("op.disable_compression('readings'); op.execute('SELECT 1 / 0')")
    assert set(compressed(filled)) == {False}
    with filled.engine.connect() as connection:
        jobs = {job.relation: job.scheduled for job in list_jobs(connection, PolicyKind.COMPRESSION)}
    assert jobs == {"readings": False}


def test_more_growth_than_allowed_is_refused_before_anything_changes(filled: AlembicProject) -> None:
    filled.migrate(declare(BY_DEVICE, POLICY))
    filled.execute(compress("readings"))
    rows = filled.rows(ALL)
    (growth,) = filled.rows(
        "SELECT sum(before_compression_total_bytes - after_compression_total_bytes)::bigint FROM chunk_compression_stats('readings')"
    )[0]
    words = r'5 chunks of "readings" would grow by about .* when decompressed, more than the .* allowed; nothing was changed'
    with pytest.raises(DBAPIError, match=words):
        filled.run(f"op.disable_compression('readings', max_growth_bytes={growth - 1})")
    assert set(compressed(filled)) == {True}
    assert filled.rows(ALL) == rows
    with filled.engine.connect() as connection:
        assert all(job.scheduled for job in list_jobs(connection))
    assert filled.differences(declare(BY_DEVICE, POLICY)) == []


def test_an_interrupted_run_goes_on_where_it_stood(filled: AlembicProject) -> None:
    filled.migrate(declare(BY_DEVICE))
    filled.execute(compress("readings"), compress("hourly"))
    rows = filled.rows(ALL)
    # As if it had been stopped after the first chunk.
    filled.execute(
        "SELECT decompress_chunk(chunk) FROM show_chunks('readings', older_than => TIMESTAMPTZ '2024-03-02') AS chunk"
    )
    assert set(compressed(filled)) == {True, False}
    filled.migrate(declare())
    assert set(compressed(filled)) == {False}
    assert filled.rows(ALL) == rows
