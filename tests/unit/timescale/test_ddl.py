"""The names of one thing in several versions, and what a server is refused for."""

from __future__ import annotations

import pytest

from datalayer.errors import InvalidInputError, UnsupportedServerError
from datalayer.timescale import Compression, CompressionPolicy, Feature, Interval, PolicyKind, Server, ddl
from datalayer.timescale.server import version_numbers

OLD, NEW = Server((2, 17, 2)), Server((2, 18, 0))
KEY = (None, "readings")
POLICY = CompressionPolicy(compress_after="30 days")


@pytest.mark.parametrize(
    ("server", "options", "add", "remove"),
    [
        (
            OLD,
            "SET (timescaledb.compress, timescaledb.compress_segmentby = '\"device\"', timescaledb.compress_orderby = '\"ts\" DESC NULLS FIRST')",
            "SELECT public.add_compression_policy('\"readings\"', compress_after => INTERVAL '30 days',",
            "SELECT public.remove_compression_policy(",
        ),
        (
            NEW,
            "SET (timescaledb.enable_columnstore, timescaledb.segmentby = '\"device\"', timescaledb.orderby = '\"ts\" DESC NULLS FIRST')",
            "CALL public.add_columnstore_policy('\"readings\"', after => INTERVAL '30 days',",
            "CALL public.remove_columnstore_policy(",
        ),
    ],
    ids=["2.17", "2.18"],
)
def test_compression_is_columnstore_since_2_18(server: Server, options: str, add: str, remove: str) -> None:
    assert options in ddl.enable_compression(
        KEY, Compression(segment_by=["device"], order_by=["ts DESC"]), server
    )
    assert next(iter(ddl.add_policy(KEY, POLICY, server))).startswith(add)
    assert ddl.remove_policy(KEY, PolicyKind.COMPRESSION, server).startswith(remove)
    assert ("enable_columnstore = false" in ddl.disable_compression(KEY, server)) is (server is NEW)


def test_functions_are_found_where_the_extension_is() -> None:
    elsewhere = Server((2, 18), schema="Time Scale")
    assert 'SELECT "Time Scale".set_chunk_time_interval(' in ddl.set_chunk_interval(
        KEY, Interval.of("1 day"), elsewhere
    )


def test_the_apache_licence_is_refused_by_name() -> None:
    apache = Server((2, 18), "apache")
    assert not apache.has(Feature.COMPRESSION)
    words = (
        r"compression need the community licence \(timescaledb\.license = timescale\), this server has apache"
    )
    with pytest.raises(UnsupportedServerError, match=words):
        ddl.enable_compression(KEY, Compression(order_by=["ts"]), apache)
    with pytest.raises(UnsupportedServerError, match="policies need the community licence"):
        list(ddl.add_policy(KEY, POLICY, apache))


@pytest.mark.parametrize(
    ("feature", "since", "before"),
    [
        (Feature.COLUMNSTORE_NAMES, (2, 18), (2, 17, 9)),
        (Feature.REFRESH_BATCHES, (2, 21), (2, 20, 3)),
        (Feature.POLICIES, (2, 13), (2, 12)),
    ],
)
def test_a_feature_is_there_since_a_version(
    feature: Feature, since: tuple[int, ...], before: tuple[int, ...]
) -> None:
    Server(since).require(feature)
    with pytest.raises(
        UnsupportedServerError,
        match=f"{feature} need TimescaleDB {'.'.join(map(str, since))} or newer, this is {'.'.join(map(str, before))}",
    ):
        Server(before).require(feature)


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.23.0-dev", (2, 23, 0)), ("2.18", (2, 18)), ("2.28.1", (2, 28, 1)), ("", ())]
)
def test_versions(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("24 hours", "1 day"),
        ("1 week", "7 days"),
        ("90 min", "90 minutes"),
        ("1 year 2 mons", "14 months"),
        ("01:30:00", "90 minutes"),
        ("1 day -01:00", "23 hours"),
        ("0.5 seconds", "0.5 seconds"),
        ("1 month 2 days", "1 month 2 days"),
    ],
)
def test_intervals_in_their_own_words(text: str, canonical: str) -> None:
    assert str(Interval.of(text)) == canonical
    assert Interval.of(canonical) == Interval.of(text)


@pytest.mark.parametrize("text", ["", "soon", "1", "1 day and more", "1 fortnight"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="chunk_interval"):
        Interval.of(text, "chunk_interval")


def test_a_chunk_of_a_month_has_thirty_days() -> None:
    assert Interval.of("1 month").fixed == Interval.of("30 days") != Interval.of("1 month")
    assert Interval.of(5).fixed == Interval.of(5)
