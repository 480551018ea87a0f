"""Operations as the text of a revision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from alembic.autogenerate import renderers

from datalayer.errors import ConfigurationError
from datalayer.timescale.operations import TimescaleOp
from datalayer.timescale.specs import HashDimension, RangeDimension

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

_IMPORT: Final = "from datalayer.timescale import {}"
_LONG: Final = 60


@renderers.dispatch_for(TimescaleOp)
def render(context: AutogenContext, op: TimescaleOp) -> str | list[str]:
    """Return the call that a revision makes, nothing for what goes with its relation."""
    if op.is_silent:
        return []
    call = op.call()
    arguments = [_value(context, value) for value in call.args]
    arguments += [f"{name}={_value(context, value)}" for name, value in call.kwargs.items()]
    prefix = context.opts.get("alembic_module_prefix") or ""
    line = ", ".join(arguments)
    if len(line) > _LONG or "\n" in line:
        line = "\n    " + ",\n    ".join(arguments) + ",\n"
    return f"{prefix}{call.name}({line})"


def _value(context: AutogenContext, value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        items = (f"    {key!r}: {_value(context, item)},\n" for key, item in value.items())
        return "{\n" + "".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(context, item) for item in value) + "]"
    if isinstance(value, (HashDimension, RangeDimension)):
        context.imports.add(_IMPORT.format(type(value).__name__))
        if isinstance(value, HashDimension):
            return f"HashDimension({value.column!r}, {value.partitions})"
        return f"RangeDimension({value.column!r}, {value.interval.plain!r})"
    if isinstance(value, datetime):
        context.imports.add("import datetime")
        value = value.astimezone(UTC)
    if value is None or isinstance(value, (bool, int, datetime)):
        return repr(value)
    msg = f"cannot write {value!r} into a revision"
    raise ConfigurationError(msg)


def _text(value: str) -> str:
    if "\n" not in value or '"""' in value or "\\" in value or value.endswith('"'):
        return repr(value)
    return '"""' + value + '"""'
