"""Switching compression (columnstore) of a hypertable or continuous aggregate on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from alembic.operations import Operations

from datalayer.timescale.operations.base import Call, TimescaleOp
from datalayer.timescale.specs import Compression

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_MAX_GROWTH_BYTES: Final = 100 * 2**30


def _arguments(compression: Compression) -> dict[str, Any]:
    return {
        "segment_by": list(compression.segment_by),
        "order_by": [str(column) for column in compression.order_by],
    }


@Operations.register_operation("enable_compression")
class EnableCompressionOp(TimescaleOp):
    """Chunks may be compressed from now on."""

    def __init__(
        self, name: str, schema: str | None, compression: Compression, *, with_relation: bool = False
    ) -> None:
        super().__init__(name, schema, with_relation=with_relation)
        self.compression = compression

    @classmethod
    def enable_compression(
        cls,
        operations: Operations,
        relation: str,
        *,
        segment_by: Sequence[str] = (),
        order_by: Sequence[str],
        schema: str | None = None,
    ) -> Any:
        """Allow the chunks of a hypertable or continuous aggregate to be compressed; compresses none.

        Args:
            operations: given by Alembic.
            relation: its name.
            segment_by: columns whose values are kept apart; unquoted.
            order_by: how rows are sorted in a segment, each as in `ts`, `ts DESC` or `ts DESC NULLS LAST`; unquoted.
            schema: None: the first of the search path.
        """
        compression = Compression(segment_by=segment_by, order_by=order_by)
        return operations.invoke(cls(relation, schema, compression))

    def reverse(self) -> DisableCompressionOp:
        """Return what undoes it."""
        return DisableCompressionOp(
            self.name, self.schema, compression=self.compression, with_relation=self.with_relation
        )

    def call(self) -> Call:
        """Return how it is written in a revision."""
        return Call("enable_compression", (self.name,), self._with_schema(**_arguments(self.compression)))


@Operations.register_operation("disable_compression")
class DisableCompressionOp(TimescaleOp):
    """All chunks are decompressed and none is compressed from now on."""

    removes: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        schema: str | None,
        *,
        compression: Compression | None = None,
        max_growth_bytes: int | None = DEFAULT_MAX_GROWTH_BYTES,
        with_relation: bool = False,
    ) -> None:
        super().__init__(name, schema, with_relation=with_relation)
        self.compression = compression
        self.max_growth_bytes = max_growth_bytes

    @classmethod
    def disable_compression(
        cls,
        operations: Operations,
        relation: str,
        *,
        max_growth_bytes: int | None = DEFAULT_MAX_GROWTH_BYTES,
        schema: str | None = None,
    ) -> Any:
        """Decompress all chunks of a hypertable or continuous aggregate and switch compression off; all rows stay.

        Pauses the compression policy, says by how much the relation will grow and refuses if that is too much, then
        decompresses chunk by chunk, each in a transaction of its own. It commits what the revision did before. After an
        interruption it goes on where it stood.

        Args:
            operations: given by Alembic.
            relation: its name.
            max_growth_bytes: growth in bytes beyond which it refuses, before anything is changed; None: any.
            schema: None: the first of the search path.
        """
        return operations.invoke(cls(relation, schema, max_growth_bytes=max_growth_bytes))

    def reverse(self) -> EnableCompressionOp:
        """Return what undoes it."""
        if self.compression is None:
            raise self._unknown_before()
        return EnableCompressionOp(self.name, self.schema, self.compression, with_relation=self.with_relation)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        is_default = self.max_growth_bytes == DEFAULT_MAX_GROWTH_BYTES
        kwargs = {} if is_default else {"max_growth_bytes": self.max_growth_bytes}
        return Call("disable_compression", (self.name,), self._with_schema(**kwargs))


@Operations.register_operation("alter_compression")
class AlterCompressionOp(TimescaleOp):
    """Chunks are compressed by other columns from now on."""

    def __init__(
        self,
        name: str,
        schema: str | None,
        compression: Compression,
        existing: Compression | None = None,
        *,
        is_silent: bool | None = None,
    ) -> None:
        super().__init__(name, schema)
        self.compression = compression
        self.existing = existing
        self._is_silent = is_silent

    @property
    def is_silent(self) -> bool:
        """Whether it stands for the way back only; where None is given it stands for both."""
        return bool(self._is_silent)

    @classmethod
    def alter_compression(
        cls,
        operations: Operations,
        relation: str,
        *,
        segment_by: Sequence[str] = (),
        order_by: Sequence[str],
        schema: str | None = None,
    ) -> Any:
        """Compress chunks by other columns from now on; those that are compressed stay as they are.

        Args: as for `enable_compression`.
        """
        return operations.invoke(cls(relation, schema, Compression(segment_by=segment_by, order_by=order_by)))

    def reverse(self) -> Self:
        """Return what undoes it."""
        if self.existing is None:
            raise self._unknown_before()
        is_silent = None if self._is_silent is None else not self._is_silent
        return type(self)(self.name, self.schema, self.existing, self.compression, is_silent=is_silent)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        return Call("alter_compression", (self.name,), self._with_schema(**_arguments(self.compression)))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` reports, found before declared."""
        found = _arguments(self.existing) if self.existing else {}
        changes = {
            name: (found.get(name), value)
            for name, value in _arguments(self.compression).items()
            if found.get(name) != value
        }
        return ("alter_compression", self.schema, self.name, changes)
