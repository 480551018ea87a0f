"""The timezone of times in files that name none."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from datalayer.errors import InvalidInputError

NaiveZone = Annotated[str, typer.Option("--naive-zone", help="Timezone of times that name none.")]


def zone_of(name: str) -> tzinfo:
    """Return a timezone by its name.

    Raises:
        InvalidInputError: there is none of this name.
    """
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise InvalidInputError("naive_zone", name, "is no timezone; write it as in Europe/Berlin") from exc
