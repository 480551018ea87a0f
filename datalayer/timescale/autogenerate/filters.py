"""What is compared: of the schemas asked for, what the filters of `env.py` leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from alembic.util import to_list
from sqlalchemy import MetaData, Table

from datalayer.timescale.aggregate import aggregate_tables, list_aggregates
from datalayer.timescale.hypertable import find_hypertable
from datalayer.timescale.introspection import Found
from datalayer.timescale.specs import AggregateSpec, HypertableSpec, Relation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from alembic.autogenerate.api import AutogenContext

    from datalayer.timescale.specs import Key

R = TypeVar("R", bound=Relation)


class Filters:
    """`include_name` and `include_object`, asked as Alembic asks them of tables.

    Aggregates are of a kind of their own, `continuous_aggregate`; a filter that asks for the kind lets them pass.
    """

    def __init__(self, context: AutogenContext, schemas: Collection[str | None]) -> None:
        metadatas: list[MetaData] = to_list(context.metadata)
        self._context = context
        self._schemas = schemas
        self._metadatas = metadatas
        tables = [t for metadata in metadatas for t in (*metadata.sorted_tables, *aggregate_tables(metadata))]
        self._tables = {self._key(table): table for table in tables}

    def left_of_server(self, found: Found) -> Found:
        """Return what is to be compared of what is on the server."""

        def left(relations: Mapping[Key, R]) -> dict[Key, R]:
            return {
                key: spec
                for key, spec in relations.items()
                if self._context.run_name_filters(key[1], _kind(spec), {"schema_name": key[0]})
                and self._is_wanted(key, spec, is_found=True)
            }

        return Found(left(found.hypertables), left(found.aggregates))

    def left_of_models(self, found: Found) -> tuple[dict[Key, HypertableSpec], dict[Key, AggregateSpec]]:
        """Return what is to be compared of what the models declare; `found` is what they are compared with."""

        def left(relations: list[R]) -> dict[Key, R]:
            keyed = {self._key(spec): spec for spec in relations if self._key(spec)[0] in self._schemas}
            there = {*found.hypertables, *found.aggregates}
            return {
                key: spec for key, spec in keyed.items() if self._is_wanted(key, spec, is_found=key in there)
            }

        tables = [table for metadata in self._metadatas for table in metadata.sorted_tables]
        hypertables = [spec for table in tables if (spec := find_hypertable(table)) is not None]
        aggregates = [spec for metadata in self._metadatas for spec in list_aggregates(metadata)]
        return left(hypertables), left(aggregates)

    def _key(self, relation: Relation | Table) -> Key:
        connection = self._context.connection
        default = connection.dialect.default_schema_name if connection is not None else None
        is_default = relation.schema == default and None in self._schemas
        return None if is_default else relation.schema, relation.name

    def _is_wanted(self, key: Key, spec: Relation, *, is_found: bool) -> bool:
        schema, name = key
        stub = Table(name, MetaData(), schema=schema)
        table, other = self._tables.get(key), stub if is_found else None
        arguments: Any = (stub, name, _kind(spec), True, None)
        if table is not None:
            arguments = (table, name, _kind(spec), False, other)
        return self._context.run_object_filters(*arguments)


def _kind(spec: Relation) -> Any:
    return "continuous_aggregate" if isinstance(spec, AggregateSpec) else "table"
