"""One canonical spelling of a pair."""

import pytest

from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError


@pytest.mark.parametrize("text", ["BTC/USDT", "BTC-USDT", "BTC_USDT", "BTCUSDT", "btcusdt", " btc/usdt "])
def test_spellings_of_one_pair(text: str) -> None:
    assert canonical_symbol(text) == "BTC/USDT"


@pytest.mark.parametrize(
    ("text", "pair"),
    [("ETHBTC", "ETH/BTC"), ("BTCFDUSD", "BTC/FDUSD"), ("1000PEPEUSDT", "1000PEPE/USDT")],
)
def test_joined_spellings_end_in_a_known_quote(text: str, pair: str) -> None:
    assert canonical_symbol(text) == pair


@pytest.mark.parametrize(
    "text", ["", "USDT", "BTC//USDT", "BTC/US DT", "ABCXYZ", "USDTUSD", "BTC/USDT/X", "ПTC/USDT"]
)
def test_what_names_no_pair_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="BTC/USDT"):
        canonical_symbol(text)
