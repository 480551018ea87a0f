"""One canonical spelling of a pair."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalayer.domain.symbols import SymbolSpelling, canonical_symbol, spell_symbol
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


# What the exchanges' own interfaces call the pair.
REAL = {
    "BTC/USDT": {
        "Binance": "BTCUSDT",
        "Binance stream": "btcusdt",
        "Bybit": "BTCUSDT",
        "OKX": "BTC-USDT",
        "KuCoin": "BTC-USDT",
        "Gate.io": "BTC_USDT",
        "Huobi": "btcusdt",
        "ccxt": "BTC/USDT",
    },
    "ETH/BTC": {"Binance": "ETHBTC", "Coinbase": "ETH-BTC", "Gate.io": "ETH_BTC", "Huobi": "ethbtc"},
    "SOL/USDC": {"Binance": "SOLUSDC", "OKX": "SOL-USDC", "Gate.io": "SOL_USDC"},
    "1INCH/EUR": {"Coinbase": "1INCH-EUR", "Binance": "1INCHEUR"},
    "BTC/USD": {"Coinbase": "BTC-USD", "Bitstamp": "btcusd", "Gemini": "btcusd"},
}
SPELLED = {
    "Binance": SymbolSpelling.JOINED,
    "Bybit": SymbolSpelling.JOINED,
    "Binance stream": SymbolSpelling.LOWER,
    "Huobi": SymbolSpelling.LOWER,
    "Bitstamp": SymbolSpelling.LOWER,
    "Gemini": SymbolSpelling.LOWER,
    "OKX": SymbolSpelling.DASHED,
    "KuCoin": SymbolSpelling.DASHED,
    "Coinbase": SymbolSpelling.DASHED,
    "Gate.io": SymbolSpelling.UNDERSCORED,
    "ccxt": SymbolSpelling.CANONICAL,
}


@pytest.mark.parametrize(
    ("pair", "exchange", "spelled"), [(p, e, s) for p, names in REAL.items() for e, s in names.items()]
)
def test_real_spellings_both_ways(pair: str, exchange: str, spelled: str) -> None:
    assert canonical_symbol(spelled) == pair
    assert spell_symbol(pair, SPELLED[exchange]) == spelled
    assert spell_symbol(spelled, SPELLED[exchange].value) == spelled


# Other instruments than the spot pair, or other names of an asset: nothing is guessed.
@pytest.mark.parametrize(
    "text", ["BTC/USDT:USDT", "BTC-USDT-SWAP", "LINKUSD_PERP_X", "tBTCUSD:F0", "OMGBUSD"]
)
def test_what_may_be_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="separator"):
        canonical_symbol(text)


def test_an_unknown_spelling_lists_the_known() -> None:
    with pytest.raises(InvalidInputError, match="BTC-USDT, BTC_USDT"):
        spell_symbol("BTC/USDT", "BTC.USDT")


@pytest.mark.parametrize(
    "text",
    [
        *("BTCUSD_PERP", "BTC-PERP", "BTC-PERPETUAL", "BTCUSDT_240628", "BTC-28JUN24", "BTCUSDT_SPBL"),
        *("KRW-BTC", "KRW-XRP", "USDT-BTC", "USD-ETH"),  # Upbit and the old Bittrex: quote first
        *("USDT-XRP", "USDT-DOGE", "USDT_XMR", "USD-ADA", "THB_BTC", "THB_XRP"),  # those, Poloniex, Bitkub
        *("XXBTZUSD", "XETHZEUR", "XETHXXBT"),  # Kraken: XBT/USD, ETH/EUR, ETH/XBT
        *("ZEURZUSD", "ZGBPZUSD", "USDTZUSD"),  # Kraken: EUR/USD, GBP/USD, USDT/USD
        *("PF_XBTUSD", "PI_ETHUSD", "cmt_btcusdt"),  # Kraken's futures, the old Bitget
        *("tBTCUSD", "kPEPEUSDC", "XRPRLUSD", "SOLFDUSD", "\u017fol/usdt", None, 7),
    ],
)
def test_real_names_that_are_no_plain_pair_are_not_taken_for_another_one(text: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^symbol="):
        canonical_symbol(text)


_parts = st.sampled_from(
    ["BTC", "usdt", "USD", "TUSD", "XBT", "Z", "1", "/", "-", "_", ":", " ", "\x00", "\u0131", ""]
)


@given(st.lists(_parts, max_size=6).map("".join) | st.text(max_size=12))
@example("\u017fol/usdt")
def test_any_text_is_one_pair_in_every_spelling_or_refused(text: str) -> None:
    try:
        pair = canonical_symbol(text)
    except InvalidInputError:
        return
    assert re.fullmatch("[A-Z0-9]{1,40}/[A-Z0-9]{1,20}", pair)
    assert re.sub("[/_-]", "", text.strip().upper()) == pair.replace("/", "")
    for spelling in (SymbolSpelling.CANONICAL, SymbolSpelling.DASHED, SymbolSpelling.UNDERSCORED):
        assert canonical_symbol(spell_symbol(pair, spelling)) == pair


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        *(("USDC_USDT", "USDC/USDT"), ("FDUSD-USDT", "FDUSD/USDT"), ("USDT-TRY", "USDT/TRY")),
        *(("USDT-EUR", "USDT/EUR"), ("XTZUSD", "XTZ/USD"), ("PI/USDT", "PI/USDT"), ("USDC-BTC", "USDC/BTC")),
        *(("EUR/USDT", "EUR/USDT"), ("WBTC/ETH", "WBTC/ETH"), ("XBT/USD", "XBT/USD"), ("BTC-KRW", "BTC/KRW")),
    ],
)
def test_pairs_of_money_and_of_wrapped_coins_are_pairs(text: str, pair: str) -> None:
    assert canonical_symbol(text) == pair
