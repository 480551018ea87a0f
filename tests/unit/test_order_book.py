"""Order books by columns: what is no book is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datalayer.domain.order_book import OrderBookColumns
from datalayer.errors import InvalidInputError

NAN = np.nan


def columns(**changed: Any) -> dict[str, Any]:
    two = {
        "timestamps": np.array(["2024-08-08", "2024-08-09"], dtype="datetime64[us]"),
        "bid_prices": np.array([[10.0, 9.0], [8.0, NAN]]),
        "bid_sizes": np.array([[1.0, 2.0], [3.0, NAN]]),
        "ask_prices": np.array([[11.0], [9.0]]),
        "ask_sizes": np.array([[4.0], [5.0]]),
        "last_update_ids": np.array([1, 2]),
    }
    return two | {field: np.asarray(value) for field, value in changed.items()}


def test_levels_are_counted_and_rows_are_the_length() -> None:
    books = OrderBookColumns(**columns())
    assert (len(books), books.bid_counts.tolist(), books.ask_counts.tolist()) == (2, [2, 1], [1, 1])


def test_it_does_not_change_with_the_arrays_that_it_was_made_of() -> None:
    made_of = columns()
    books = OrderBookColumns(**made_of)
    made_of["bid_prices"][0, 0] = 99
    assert books.bid_prices[0, 0] == 10
    with pytest.raises(ValueError, match="read-only"):
        books.bid_prices[0, 0] = 99
    with pytest.raises(AttributeError):
        books.bid_prices = made_of["bid_prices"]  # type: ignore[misc]


def test_read_only_arrays_are_not_copied() -> None:
    made_of = columns()
    made_of["bid_prices"].flags.writeable = False
    assert OrderBookColumns(**made_of).bid_prices is made_of["bid_prices"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"bid_prices": [[9.0, 10.0], [8.0, NAN]]},
            r"bid_prices=10\.0: row 0 breaks the order; .* strictly falling",
        ),
        ({"bid_prices": [[9.0, 9.0], [8.0, NAN]]}, "strictly falling"),
        ({"bid_prices": [[12.0, 9.0], [8.0, NAN]]}, r"bid_prices=12\.0: row 0 is not below the best ask"),
        ({"ask_prices": [[11.0], [8.0]]}, "row 1 is not below the best ask"),
        ({"bid_sizes": [[1.0, 0.0], [3.0, NAN]]}, r"bid_sizes=0\.0: row 0 is no size above zero"),
        ({"bid_sizes": [[1.0, np.inf], [3.0, NAN]]}, "no size above zero"),
        ({"bid_sizes": [[1.0, NAN], [3.0, NAN]]}, "a price without a size"),
        ({"bid_prices": [[np.inf, 9.0], [8.0, NAN]]}, "is not finite"),
        (
            {"bid_prices": [[NAN, 9.0], [8.0, NAN]], "bid_sizes": [[NAN, 2], [3.0, NAN]]},
            "follows an empty level",
        ),
        ({"bid_prices": [10.0, 9.0]}, "all columns need 2 rows"),
        ({"ask_sizes": [[1.0, 2.0], [1.0, 2.0]]}, "both of a side equal levels"),
        ({"last_update_ids": [1, 2, 3]}, "all columns need 2 rows"),
        ({"last_update_ids": [1.0, 2.0]}, "give an array of int64"),
        ({"timestamps": np.array(["2024-08-08", "2024-08-09"], dtype="datetime64[ns]")}, r"datetime64\[us\]"),
        ({"timestamps": np.array(["2024-08-08", "NaT"], dtype="datetime64[us]")}, "row 1 has no time"),
    ],
)
def test_what_is_no_book_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        OrderBookColumns(**columns(**changed))
