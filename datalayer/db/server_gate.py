"""Which servers are refused, decided before anything is changed on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datalayer.db.sqlstate import reason_of, sqlstate_of
from datalayer.errors import UnsupportedServerError
from datalayer.timescale.server import COMMUNITY, version_numbers

if TYPE_CHECKING:
    from sqlalchemy import Connection

MINIMUM_POSTGRESQL: Final = 15
MINIMUM_TIMESCALEDB: Final = (2, 18)

_POSTGRESQL = (
    f"PostgreSQL {MINIMUM_POSTGRESQL} or newer is needed, this server is %s; upgrade it or use another one"
)
_NOT_AVAILABLE = (
    "this server has no TimescaleDB; install the package timescaledb-2-postgresql-%s (community edition) on it, "
    "add timescaledb to shared_preload_libraries and restart it"
)
_NOT_LOADED = "TimescaleDB is installed on this server but not loaded; add timescaledb to shared_preload_libraries and restart it"
_TOO_OLD = (
    f"TimescaleDB {'.'.join(map(str, MINIMUM_TIMESCALEDB))} or newer is needed, this database has %s; install a newer package "
    "and run ALTER EXTENSION timescaledb UPDATE"
)
_LICENCE = (
    "this TimescaleDB runs under the %s licence, without continuous aggregates and compression; install the community "
    "edition and set timescaledb.license = timescale"
)
_MAY_NOT_CREATE = (
    "the extension timescaledb cannot be created in this database (%s); let an administrator run "
    "CREATE EXTENSION timescaledb SCHEMA public in it"
)

# Catalogs only: no TimescaleDB function is called, since the server may have none. Settings of a library are listed
# in pg_settings once it is loaded; before, a configured value is a mere placeholder.
_FACTS = text("""
    SELECT current_setting('server_version_num')::integer AS server_version_num,
           (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb') AS available_version,
           (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS installed_version,
           EXISTS (SELECT FROM pg_settings WHERE name IN ('timescaledb.license', 'timescaledb.max_background_workers')) AS loaded,
           current_setting('timescaledb.license', true) AS licence
""")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What decides whether a server can be used.

    Attributes:
        server_version_num: of PostgreSQL, as in 170005.
        available_version: TimescaleDB that CREATE EXTENSION would install; None: there are no files of it.
        installed_version: TimescaleDB of this database; None: the extension is not created in it.
        loaded: the server has loaded the library.
        licence: value of `timescaledb.license`; None: not known before the extension is created.
    """

    server_version_num: int
    available_version: str | None
    installed_version: str | None
    loaded: bool
    licence: str | None


def find_refusal(facts: ServerFacts) -> str | None:
    """Return one sentence that says why the server is refused and what to do, or None if it will do."""
    major = facts.server_version_num // 10_000
    version = facts.installed_version or facts.available_version
    if major < MINIMUM_POSTGRESQL:
        return _POSTGRESQL % major
    if version is None:
        return _NOT_AVAILABLE % major
    if not facts.loaded:
        return _NOT_LOADED
    if version_numbers(version) < MINIMUM_TIMESCALEDB:
        return _TOO_OLD % version
    if facts.licence not in {None, COMMUNITY}:
        return _LICENCE % facts.licence
    return None


def check_server(conn: Connection) -> ServerFacts:
    """Refuse a server that cannot carry the schema; nothing stays changed on it.

    Where the extension does not exist yet, its licence shows only once it does: it is created in a transaction that is
    rolled back.

    Args:
        conn: a connection without an open transaction (`await async_conn.run_sync(check_server)` for an async one).

    Returns:
        What was found.

    Raises:
        UnsupportedServerError: one sentence that says what to do.
    """
    with conn.begin() as transaction:
        facts = _gather(conn)
        if facts.installed_version is None:
            _create_extension(conn)
            facts = _gather(conn)
        transaction.rollback()
    return facts


def offline_gate() -> str:
    """Return the same decision as a DO block, for a script that a person runs by psql."""
    minimum = ", ".join(map(str, MINIMUM_TIMESCALEDB))
    return f"""\
DO $gate$
DECLARE
    major integer := current_setting('server_version_num')::integer / 10000;
    version text := COALESCE(
        (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
        (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb')
    );
    licence text := current_setting('timescaledb.license', true);
BEGIN
    IF major < {MINIMUM_POSTGRESQL} THEN
        RAISE EXCEPTION '{_POSTGRESQL.replace("%s", "%")}', major;
    ELSIF version IS NULL THEN
        RAISE EXCEPTION '{_NOT_AVAILABLE.replace("%s", "%")}', major;
    ELSIF NOT EXISTS (
        SELECT FROM pg_settings WHERE name IN ('timescaledb.license', 'timescaledb.max_background_workers')
    ) THEN
        RAISE EXCEPTION '{_NOT_LOADED}';
    ELSIF string_to_array(substring(version FROM '^[0-9.]+'), '.')::integer[] < ARRAY[{minimum}] THEN
        RAISE EXCEPTION '{_TOO_OLD.replace("%s", "%")}', version;
    ELSIF licence <> 'timescale' THEN
        RAISE EXCEPTION '{_LICENCE.replace("%s", "%")}', licence;
    END IF;
END
$gate$;"""


def _gather(conn: Connection) -> ServerFacts:
    facts = ServerFacts(**conn.execute(_FACTS).mappings().one())
    refusal = find_refusal(facts)
    if refusal is not None:
        raise UnsupportedServerError(refusal)
    return facts


def _create_extension(conn: Connection) -> None:
    try:
        conn.exec_driver_sql("CREATE EXTENSION timescaledb SCHEMA public")
    except DBAPIError as exc:
        raise UnsupportedServerError(_MAY_NOT_CREATE % reason_of(exc), sqlstate_of(exc)) from exc
