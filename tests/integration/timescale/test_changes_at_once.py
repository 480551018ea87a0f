"""Changes that belong together: the order that one of them needs forwards, and the other one backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Double, Integer, MetaData, func, select
from sqlalchemy.exc import DBAPIError

from datalayer.timescale import (
    Compression,
    CompressionPolicy,
    RefreshPolicy,
    continuous_aggregate,
    list_chunks,
    list_jobs,
    time_bucket,
)
from datalayer.timescale.operations.replace import replace_aggregates
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

POLICY = CompressionPolicy(compress_after="20 days")


def refreshed(start: str, end: str) -> RefreshPolicy:
    return RefreshPolicy(start_offset=start, end_offset=end, schedule_interval="1 hour")


def there_and_back(project: AlembicProject, *declared: MetaData) -> None:
    """Migrate from the first to the last and back to the first."""
    for metadata in declared[1:]:
        project.migrate(metadata)
    for metadata in reversed(declared[:-1]):
        project.downgrade("-1")
        assert project.differences(metadata) == []


def test_buckets_and_their_window(project: AlembicProject) -> None:
    """A window holds two buckets at least, whichever way the buckets change."""

    def declare(width: str, policy: RefreshPolicy) -> MetaData:
        metadata = MetaData()
        rolled_up(readings(metadata), "rolled_up", width, policies=[policy])
        return metadata

    short = declare("1 hour", refreshed("3 hours", "1 hour"))
    project.migrate(short)
    project.execute(FILL, *refresh("rolled_up"))
    there_and_back(project, short, declare("1 day", refreshed("5 days", "1 day")), short)


def test_windows_of_a_refresh_and_of_compression(project: AlembicProject) -> None:
    def declare(start: str, after: str) -> MetaData:
        metadata, aged = MetaData(), [CompressionPolicy(compress_after=after)]
        table = readings(metadata, hypertable={"compression": BY_DEVICE, "policies": aged})
        policies = [refreshed(start, "1 hour"), *aged]
        rolled_up(table, "hourly", "1 hour", compression=BY_DEVICE, policies=policies)
        return metadata

    project.migrate(declare("3 days", "5 days"))
    there_and_back(
        project, *(declare(*w) for w in (("3 days", "5 days"), ("9 days", "12 days"), ("1 day", "2 days")))
    )


def test_columns_of_an_aggregate_and_of_its_compression(project: AlembicProject) -> None:
    def declare(device: str, ts: str) -> MetaData:
        metadata = MetaData()
        c = readings(metadata).c
        bucket = time_bucket("1 hour", c.ts)
        continuous_aggregate(
            "hourly",
            metadata,
            select(c.device.label(device), bucket.label(ts), func.max(c.value).label("value")).group_by(
                c.device, bucket
            ),
            materialized_only=True,
            compression=Compression(segment_by=[device], order_by=[f"{ts} DESC"]),
            policies=[refreshed("3 days", "1 hour"), POLICY],
        )
        return metadata

    project.migrate(declare("device", "ts"))
    project.execute(FILL, *refresh("hourly"), compress("hourly"))
    rows = project.rows("SELECT * FROM hourly ORDER BY 1, 2")
    there_and_back(project, declare("device", "ts"), declare("sensor", "ts"), declare("sensor", "bucket"))
    assert project.rows("SELECT * FROM hourly ORDER BY 1, 2") == rows


def by_site(*, site: bool, further: Any = ()) -> MetaData:
    metadata = MetaData()
    compression = Compression(segment_by=["site" if site else "device"], order_by=["ts"])
    columns = [Column("site", Integer)] if site else []
    readings(metadata, *columns, *further, hypertable={"compression": compression, "policies": [POLICY]})
    return metadata


@pytest.fixture
def compressed(project: AlembicProject) -> AlembicProject:
    project.migrate(by_site(site=True))
    project.execute(FILL, compress("readings"))
    return project


def test_a_column_that_chunks_are_compressed_by_goes(compressed: AlembicProject) -> None:
    """TimescaleDB wants the chunks decompressed for that, and they are, with the policy paused meanwhile."""
    rows = compressed.rows(ALL)
    written = compressed.migrate(by_site(site=False))
    calls = [
        line.strip().split("(")[0] for line in written.split("def downgrade")[0].splitlines() if "op." in line
    ]
    assert calls == [
        "op.remove_compression_policy",
        "op.disable_compression",
        "op.drop_column",
        "op.enable_compression",
        "op.add_compression_policy",
    ]
    assert compressed.rows(ALL) == rows
    compressed.execute(compress("readings"))
    compressed.downgrade("-1")
    assert compressed.differences(by_site(site=True)) == []
    assert compressed.rows(ALL) == rows
    with compressed.engine.connect() as connection:
        assert not any(chunk.is_compressed for chunk in list_chunks(connection, "readings"))
        assert [job.scheduled for job in list_jobs(connection)] == [True]


def test_another_column_goes_and_chunks_stay_compressed(project: AlembicProject) -> None:
    wider = by_site(site=True, further=[Column("humidity", Double)])
    project.migrate(wider)
    project.execute(FILL, compress("readings"))
    rows = project.rows(ALL)
    there_and_back(project, wider, by_site(site=True))
    assert project.rows(ALL) == rows
    with project.engine.connect() as connection:
        assert all(chunk.is_compressed for chunk in list_chunks(connection, "readings"))


def test_a_column_to_compress_by_comes(project: AlembicProject) -> None:
    project.migrate(by_site(site=False))
    project.execute(FILL, compress("readings"))
    rows = project.rows(ALL)
    there_and_back(project, by_site(site=False), by_site(site=True))
    assert project.rows(ALL) == rows

    project.upgrade()
    project.execute("INSERT INTO readings VALUES ('2024-04-01Z', 1, 1, 7)", compress("readings"))
    with pytest.raises(DBAPIError, match="cannot drop orderby or segmentby column"):
        project.downgrade("-1")
    assert project.differences(by_site(site=True)) == [], "nothing was changed"


def test_an_aggregate_that_another_reads_gets_another_name(project: AlembicProject) -> None:
    """A comparison takes it for another one, which is made and filled before it is read."""

    def declare(name: str) -> MetaData:
        metadata = MetaData()
        rolled_up(rolled_up(readings(metadata), name, "1 hour"), "daily", "1 day")
        return metadata

    project.migrate(declare("hourly"))
    project.execute(FILL, *refresh("hourly", "daily"))
    rows = project.rows("SELECT * FROM daily ORDER BY ts, device")
    there_and_back(project, declare("hourly"), declare("By Hour"))
    assert project.rows("SELECT * FROM daily ORDER BY ts, device") == rows


def test_a_column_is_there_already_when_an_interrupted_refill_runs_again(
    project: AlembicProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare(*, humidity: bool) -> MetaData:
        metadata = MetaData()
        table = readings(metadata, *([Column("humidity", Double, index=True)] if humidity else []))
        columns = [func.max(table.c.humidity).label("humidity")] if humidity else []
        rolled_up(table, "hourly", "1 hour", columns=columns)
        return metadata

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def stopped_and_run_again(method: str, *arguments: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(f"{replace_aggregates.__module__}.refresh_continuous_aggregate", interrupted)
            with pytest.raises(KeyboardInterrupt):
                getattr(project, method)(*arguments)
        getattr(project, method)(*arguments)

    project.migrate(declare(humidity=False))
    project.execute(FILL, *refresh("hourly"))
    rows = project.rows("SELECT ts, device, value FROM hourly ORDER BY ts, device")
    project.autogenerate(declare(humidity=True))
    stopped_and_run_again("upgrade")
    project.check(declare(humidity=True))
    stopped_and_run_again("downgrade", "-1")
    assert project.differences(declare(humidity=False)) == []
    assert project.rows("SELECT ts, device, value FROM hourly ORDER BY ts, device") == rows


def test_policies_are_gone_already_when_an_interrupted_decompression_runs_again(
    project: AlembicProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare(*, is_on: bool) -> MetaData:
        metadata = MetaData()
        compression = {"compression": BY_DEVICE, "policies": [POLICY]} if is_on else {}
        table = readings(metadata, hypertable=compression)
        if is_on:
            rolled_up(table, "hourly", "1 hour", policies=[refreshed("3 days", "1 hour")])
        return metadata

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def stopped_and_run_again(method: str, *arguments: str) -> None:
        project.execute(compress("readings"))
        with monkeypatch.context() as patch:
            patch.setattr("datalayer.timescale.ddl.disable_compression", interrupted)
            with pytest.raises(KeyboardInterrupt):
                getattr(project, method)(*arguments)
        getattr(project, method)(*arguments)

    project.migrate(declare(is_on=False))
    project.execute(FILL)
    rows = project.rows(ALL)
    project.migrate(declare(is_on=True))
    stopped_and_run_again("downgrade", "-1")
    assert project.differences(declare(is_on=False)) == []
    project.upgrade()
    project.autogenerate(declare(is_on=False))
    stopped_and_run_again("upgrade")
    project.check(declare(is_on=False))
    assert project.rows(ALL) == rows
