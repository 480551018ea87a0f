"""Which TimescaleDB a server has, and what that one calls things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.errors import UnsupportedServerError

if TYPE_CHECKING:
    from sqlalchemy import Connection

MINIMUM_VERSION: Final = (2, 13)
"""First version with the functions that the operations call."""
COMMUNITY: Final = "timescale"

_FACTS = text("""
    SELECT extversion, nspname, current_setting('timescaledb.license', true) AS licence
    FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'timescaledb'
""")


class Feature(StrEnum):
    """What depends on the version or the licence; the value is its name for people."""

    COMPRESSION = "compression"
    CONTINUOUS_AGGREGATES = "continuous aggregates"
    POLICIES = "policies"
    COLUMNSTORE_NAMES = "columnstore names"
    REFRESH_BATCHES = "batches of a refresh"
    FORCED_REFRESH = "forced refreshes"


_SINCE: Final = {
    Feature.COLUMNSTORE_NAMES: (2, 18),
    Feature.FORCED_REFRESH: (2, 18),
    Feature.REFRESH_BATCHES: (2, 21),
}
"""First version of those that not every supported version has; all of them need the community licence."""


@dataclass(frozen=True, slots=True)
class Server:
    """A TimescaleDB.

    Attributes:
        version: as in (2, 28, 0).
        licence: `timescale` (community) or `apache`; None: not known.
        schema: where the extension's functions are.
    """

    version: tuple[int, ...]
    licence: str | None = COMMUNITY
    schema: str = "public"

    @classmethod
    def of(cls, connection: Connection) -> Server:
        """Return what a connection leads to.

        Raises:
            UnsupportedServerError: the extension is not created in the database.
        """
        facts = connection.execute(_FACTS).one_or_none()
        if facts is None:
            msg = "TimescaleDB is not installed in this database; run CREATE EXTENSION timescaledb in an earlier revision"
            raise UnsupportedServerError(msg)
        return cls(version_numbers(facts.extversion), facts.licence, facts.nspname)

    @property
    def is_community(self) -> bool:
        """Whether the licence allows more than hypertables; taken for granted where it is not known."""
        return self.licence in {None, COMMUNITY}

    def has(self, feature: Feature) -> bool:
        """Whether the version and the licence bring a feature."""
        return self.is_community and self.version >= _SINCE.get(feature, MINIMUM_VERSION)

    def require(self, feature: Feature) -> None:
        """Refuse a server without a feature.

        Raises:
            UnsupportedServerError: says whether the version or the licence is the reason.
        """
        if self.has(feature):
            return
        if not self.is_community:
            msg = f"{feature} need the community licence (timescaledb.license = timescale), this server has {self.licence}"
        else:
            needed, here = (
                ".".join(map(str, v)) for v in (_SINCE.get(feature, MINIMUM_VERSION), self.version)
            )
            msg = f"{feature} need TimescaleDB {needed} or newer, this is {here}"
        raise UnsupportedServerError(msg)

    def function(self, name: str) -> str:
        """Return the qualified name of one of TimescaleDB's functions; the search path may lack its schema."""
        return f'"{self.schema}".{name}' if self.schema != "public" else f"public.{name}"


ASSUMED: Final = Server((2, 18))
"""What a script is written for when nobody says otherwise."""


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 23, 0) for `2.23.0-dev`."""
    found = re.match(r"[0-9.]+", version)
    return tuple(int(part) for part in found[0].strip(".").split(".")) if found else ()
