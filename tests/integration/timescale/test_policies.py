"""Each policy added, changed, removed, and changed by hand on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import MetaData

from datalayer.errors import ConfigurationError, InvalidInputError
from datalayer.timescale import (
    CompressionPolicy,
    PolicyKind,
    RefreshPolicy,
    RetentionPolicy,
    list_jobs,
)
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, compress, readings, refresh, rolled_up

if TYPE_CHECKING:
    from datalayer.timescale import Job
    from datalayer.timescale.specs import Policy
    from tests.integration.timescale.project import AlembicProject

REFRESH = RefreshPolicy(start_offset="3 days", end_offset="1 hour", schedule_interval="1 hour")
COMPRESS = CompressionPolicy(compress_after="20 days")
RETAIN = RetentionPolicy(drop_after="60 days")


def declare(on_table: list[Policy], on_aggregate: list[Policy]) -> MetaData:
    metadata = MetaData()
    table = readings(metadata, hypertable={"compression": BY_DEVICE, "policies": on_table})
    rolled_up(table, "hourly", "1 hour", compression=BY_DEVICE, policies=on_aggregate)
    return metadata


def jobs(project: AlembicProject) -> dict[tuple[str, PolicyKind], Job]:
    with project.engine.connect() as connection:
        return {(job.relation, job.kind): job for job in list_jobs(connection)}


@pytest.mark.parametrize(
    ("name", "before", "after", "written"),
    [
        (
            "hourly",
            REFRESH,
            RefreshPolicy(
                start_offset=None,
                end_offset="2 hours",
                schedule_interval="30 minutes",
                phase="10 seconds",
                buckets_per_batch=0,
                newest_first=False,
            ),
            "start_offset=None",
        ),
        (
            "readings",
            COMPRESS,
            CompressionPolicy(compress_after="1 month", schedule_interval="1 day"),
            "compress_after='1 month'",
        ),
        (
            "readings",
            RETAIN,
            RetentionPolicy(drop_after="90 days", schedule_interval="6 hours"),
            "drop_after='90 days'",
        ),
        ("hourly", RETAIN, RetentionPolicy(drop_after="1 year"), "drop_after='12 months'"),
    ],
    ids=["refresh", "compression", "retention", "retention of an aggregate"],
)
def test_round_trip_of_a_policy(
    project: AlembicProject, name: str, before: Policy, after: Policy, written: str
) -> None:
    def declared(*policies: Policy) -> MetaData:
        return declare(*((list(policies), []) if name == "readings" else ([], list(policies))))

    traces = project.traces()
    kind = before.kind.name.lower()
    project.migrate(declared())
    assert f"op.add_{kind}_policy(" in project.migrate(declared(before))
    (job,) = jobs(project).values()
    changed = project.migrate(declared(after))
    assert f"op.alter_{kind}_policy(" in changed
    assert written in changed
    assert jobs(project)[name, before.kind].job_id == job.job_id, "its history stays"
    assert f"op.remove_{kind}_policy('{name}')" in project.migrate(declared())
    assert jobs(project) == {}

    for policies in ([after], [before], []):
        project.downgrade("-1")
        assert project.differences(declared(*policies)) == []
    project.downgrade("-1")
    assert project.traces() == traces


def test_policies_come_last_and_go_first(project: AlembicProject) -> None:
    written = project.migrate(declare([COMPRESS, RETAIN], [REFRESH, COMPRESS, RETAIN]))
    calls = [line.split("(")[0].strip() for line in written.splitlines() if line.strip().startswith("op.")]
    half = calls.index("op.drop_continuous_aggregate")
    assert calls[half - 5 : half] == [
        "op.add_refresh_policy",
        *["op.add_compression_policy"] * 2,
        *["op.add_retention_policy"] * 2,
    ]
    assert len(jobs(project)) == 5
    project.downgrade_to_base()
    assert jobs(project) == {}


def test_a_policy_changed_by_hand_is_reported_with_both_values(project: AlembicProject) -> None:
    declared = declare([COMPRESS, RETAIN], [REFRESH])
    project.migrate(declared)
    by_hand = {
        (
            "hourly",
            PolicyKind.REFRESH,
        ): "config => config || '{\"start_offset\": \"2 days\"}', schedule_interval => '2 hours'",
        ("readings", PolicyKind.COMPRESSION): "scheduled => false",
        ("readings", PolicyKind.RETENTION): 'config => config || \'{"drop_after": "30 days"}\'',
    }
    for key, change in by_hand.items():
        job_id = jobs(project)[key].job_id
        project.execute(
            f"SELECT alter_job(job_id, {change}) FROM timescaledb_information.jobs WHERE job_id = {job_id}"
        )
    assert project.reported(declared) == [
        (
            "alter_refresh_policy",
            None,
            "hourly",
            {"start_offset": ("2 days", "3 days"), "schedule_interval": ("2 hours", "1 hour")},
        ),
        ("alter_compression_policy", None, "readings", {"paused": (True, False)}),
        ("alter_retention_policy", None, "readings", {"drop_after": ("30 days", "60 days")}),
    ]
    project.migrate(declared)
    assert all(job.scheduled for job in jobs(project).values())


def test_a_policy_removed_or_added_by_hand_is_reported(project: AlembicProject) -> None:
    declared = declare([RETAIN], [])
    project.migrate(declared)
    project.execute("SELECT remove_retention_policy('readings')")
    assert project.reported(declared) == [
        ("add_retention_policy", "readings", {"drop_after": "60 days", "schedule_interval": "1 day"})
    ]
    assert [diff[0] for diff in project.reported(declare([RETAIN, COMPRESS], []))] == [
        "add_compression_policy",
        "add_retention_policy",
    ]
    project.execute("SELECT add_retention_policy('readings', INTERVAL '60 days')")
    assert project.differences(declared) == []
    assert project.reported(declare([], [])) == [("remove_retention_policy", "readings", {})]


def test_a_second_refresh_policy_made_by_hand_is_reported(project: AlembicProject) -> None:
    """TimescaleDB allows several whose windows lie apart; one can be declared."""
    project.migrate(declare([], [REFRESH]))
    project.execute(
        "SELECT add_continuous_aggregate_policy('hourly', INTERVAL '30 days', INTERVAL '9 days', INTERVAL '1 day')"
    )
    words = "hourly has 2 refresh policies on the server, of the windows 3 days to 1 hour and 30 days to 9 days; .* delete_job"
    with pytest.raises(ConfigurationError, match=words):
        project.check(declare([], [REFRESH]))
    definition = "SELECT time_bucket('1 hour', ts) AS ts, max(value) AS value FROM readings GROUP BY 1"
    with pytest.raises(ConfigurationError, match=words):
        project.run(f"op.replace_continuous_aggregates({{'hourly': {definition!r}}})")
    assert "device" in project.rows("SELECT pg_get_viewdef('hourly'::regclass)")[0][0], "it is what it was"


def test_a_policy_by_the_creation_of_chunks_is_reported_and_can_be_replaced(project: AlembicProject) -> None:
    """It cannot be declared, so it cannot be made again on the way back; that is said."""
    project.migrate(declare([], []))
    project.execute("SELECT add_retention_policy('readings', drop_created_before => INTERVAL '60 days')")
    assert project.reported(declare([RETAIN], [])) == [
        ("alter_retention_policy", None, "readings", {"drop_after": (None, "60 days")})
    ]
    project.migrate(declare([RETAIN], []))
    (config,) = project.rows(
        "SELECT config - 'hypertable_id' FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()"
    )
    assert config[0] == {"drop_after": "60 days"}

    project.execute(
        "SELECT remove_retention_policy('readings')",
        "SELECT add_retention_policy('readings', drop_created_before => INTERVAL '60 days')",
    )
    project.migrate(declare([], []))
    with pytest.raises(InvalidInputError, match="make a policy by drop_created_before by hand"):
        project.downgrade("-1")


@pytest.mark.parametrize("scheduled", ["true", "false"])
def test_a_policy_declared_paused_may_be_on_or_off(project: AlembicProject, scheduled: str) -> None:
    paused: Any = RetentionPolicy(drop_after="60 days", paused=True)
    written = project.migrate(declare([paused], []))
    assert "paused=True" in written
    (job,) = jobs(project).values()
    assert not job.scheduled
    project.execute(f"SELECT alter_job({job.job_id}, scheduled => {scheduled})")
    project.check(declare([paused], []))


def test_round_trip_on_a_table_with_compressed_chunks_does_not_touch_rows(project: AlembicProject) -> None:
    project.migrate(declare([], []))
    project.execute(FILL, compress("readings"), *refresh("hourly"), compress("hourly"))
    rows = project.rows(ALL), project.rows("SELECT * FROM hourly ORDER BY ts, device")
    project.migrate(declare([COMPRESS, RETAIN], [REFRESH, COMPRESS]))
    project.migrate(declare([RETAIN], [REFRESH]))
    project.downgrade("-2")
    assert (project.rows(ALL), project.rows("SELECT * FROM hourly ORDER BY ts, device")) == rows
