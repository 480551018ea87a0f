"""The stream of binary COPY, encoded and decoded without a server; the server's own is compared in tests/integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.db.copy_columns import COPY_HEADER, COPY_TRAILER, Column
from datalayer.db.copy_decode import decode_copy
from datalayer.db.copy_encode import encode_copy
from datalayer.errors import DatabaseError, InvalidInputError

int8 = st.integers(-(2**63), 2**63 - 1)
moments = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
books = st.lists(
    st.tuples(moments, int8, st.lists(int8, max_size=4), st.lists(int8, max_size=3)), max_size=30
)


def ragged(name: str, rows: list[list[int]]) -> Column:
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    width = max(map(len, rows), default=0)
    data = np.zeros((len(rows), width), dtype=np.int64)
    for row, values in enumerate(rows):
        data[row, : len(values)] = values
    return Column(name, "int8[]", data, lengths=lengths)


@given(books, st.integers(1, 40))
def test_rows_of_any_shape_come_back(rows: list[tuple[int, int, list[int], list[int]]], piece: int) -> None:
    columns = [
        Column(
            "ts", "timestamptz", np.array([row[0] for row in rows], dtype=np.int64).view("datetime64[us]")
        ),
        Column("id", "int8", np.array([row[1] for row in rows], dtype=np.int64)),
        ragged("bids", [row[2] for row in rows]),
        ragged("asks", [row[3] for row in rows]),
    ]
    stream = b"".join(encode_copy(columns, rows_per_piece=piece))
    decoded = decode_copy(stream, {column.name: column.pg_type for column in columns})
    for column in columns:
        assert decoded[column.name].data.dtype == column.data.dtype
        np.testing.assert_array_equal(decoded[column.name].data, column.data)
        if column.lengths is not None:
            np.testing.assert_array_equal(decoded[column.name].lengths, column.lengths)


def test_pieces_are_bounded_and_make_one_stream() -> None:
    columns = [Column("n", "int4", np.arange(25, dtype=np.int32))]
    pieces = list(encode_copy(columns, rows_per_piece=10))
    assert [len(piece) for piece in pieces] == [len(COPY_HEADER), 100, 100, 50, len(COPY_TRAILER)]
    assert b"".join(pieces) == b"".join(encode_copy(columns))


def test_a_missing_time_is_refused() -> None:
    times = np.array(["2024-01-01", "NaT"], dtype="datetime64[us]")
    with pytest.raises(InvalidInputError, match="ts='NaT': row 1 has no time"):
        list(encode_copy([Column("ts", "timestamptz", times)]))


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="every column needs 2 rows"):
        list(encode_copy([Column("a", "int4", np.zeros(2, int)), Column("b", "int4", np.zeros(3, int))]))


@pytest.mark.parametrize("end", [2**63 - 1, -(2**63)])
def test_an_infinite_time_is_refused(end: int) -> None:
    stream = b"".join(encode_copy([Column("ts", "int8", np.array([0, end], dtype=np.int64))]))
    with pytest.raises(DatabaseError, match="ts is infinite in row 1"):
        decode_copy(stream, {"ts": "timestamptz"})


def test_a_null_is_refused_with_its_column_and_row() -> None:
    column = Column("n", "int4", np.zeros(3, np.int32), np.array([True, False, True]))
    stream = b"".join(encode_copy([column]))
    with pytest.raises(DatabaseError, match="n is NULL or no int4 in row 1"):
        decode_copy(stream, {"n": "int4"})


@pytest.mark.parametrize("cut", [1, 5, 13])
def test_a_stream_that_ends_inside_a_row_is_refused(cut: int) -> None:
    stream = b"".join(
        encode_copy([Column("n", "int4", np.zeros(3, np.int32)), ragged("a", [[1], [2, 3], []])])
    )
    with pytest.raises(DatabaseError, match="ends inside a row"):
        decode_copy(stream[: -len(COPY_TRAILER) - cut] + COPY_TRAILER, {"n": "int4", "a": "int8[]"})


def test_other_columns_than_asked_for_are_refused() -> None:
    stream = b"".join(encode_copy([Column("n", "int4", np.zeros(3, np.int32))]))
    with pytest.raises(DatabaseError, match="another number of columns than 2"):
        decode_copy(stream + bytes(20), {"n": "int4", "m": "int8"})
    with pytest.raises(DatabaseError, match="before arrays"):
        decode_copy(stream, {"a": "int8[]", "n": "int4"})
