"""Errors say what was wrong, whatever it was."""

from __future__ import annotations

from datalayer.errors import InvalidInputError


class Broken:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def test_a_value_is_shown() -> None:
    assert str(InvalidInputError("price", "1,5", "use a point")) == "price='1,5': use a point"


def test_a_value_that_cannot_be_shown_hides_no_error() -> None:
    assert str(InvalidInputError("price", 10**5000, "too large")) == "price=<int>: too large"
    assert str(InvalidInputError("price", Broken(), "is no number")) == "price=<Broken>: is no number"


def test_a_long_value_is_cut_off_in_the_text_alone() -> None:
    error = InvalidInputError("payload", "x" * 5000, "is no JSON")
    assert len(str(error)) < 1100
    assert len(error.value) == 5000
