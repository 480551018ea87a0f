"""Instruments: registered once, with scales that hold."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.domain.instrument import Instrument
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.repositories import InstrumentRepository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


async def test_an_instrument_is_registered_once_and_found_in_any_spelling(conn: AsyncConnection) -> None:
    instruments = InstrumentRepository(conn)
    assert await instruments.find("BTC/USDT") is None
    made = await instruments.ensure("btcusdt", 2, 6)
    assert made == Instrument(made.id, "BTC/USDT", 2, 6)
    assert await instruments.ensure("BTC-USDT", 1, 6) == made
    assert await instruments.find("BTC_USDT") == await instruments.get("BTCUSDT") == made
    assert await instruments.get_for_write("BTC/USDT") == made
    other = await instruments.ensure("AAVE/USDT", 2, 3)
    assert await instruments.list_all() == [other, made]


async def test_asking_again_takes_no_id(conn: AsyncConnection) -> None:
    """There are 32,767 of them, and a process that starts asks for each of its instruments."""
    instruments = InstrumentRepository(conn)
    first = await instruments.ensure("BTC/USDT", 2, 6)
    for _ in range(5):
        await instruments.ensure("BTC/USDT", 2, 6)
    assert (await instruments.ensure("ETH/USDT", 2, 6)).id == first.id + 1


@pytest.mark.parametrize(("scales", "field"), [((3, 6), "price_scale"), ((2, 7), "size_scale")])
async def test_a_wider_scale_than_registered_says_what_to_do(
    conn: AsyncConnection, scales: tuple[int, int], field: str
) -> None:
    instruments = InstrumentRepository(conn)
    await instruments.ensure("BTC/USDT", 2, 6)
    with pytest.raises(
        ScaleError, match=r"registered with \d; the instrument needs a larger scale"
    ) as refused:
        await instruments.ensure("BTC/USDT", *scales)
    assert refused.value.field == field


async def test_impossible_scales_are_refused(conn: AsyncConnection) -> None:
    with pytest.raises(InvalidInputError, match="price_scale=19: a scale counts decimal digits, 0 to 18"):
        await InstrumentRepository(conn).ensure("BTC/USDT", 19, 6)


async def test_an_unknown_symbol_names_those_that_look_alike(conn: AsyncConnection) -> None:
    instruments = InstrumentRepository(conn)
    await instruments.ensure("BTC/USDT", 2, 6)
    with pytest.raises(InvalidInputError, match="symbol='BTC/USDC': not registered; did you mean BTC/USDT"):
        await instruments.get("BTC/USDC")


@pytest.mark.native
async def test_two_processes_may_register_the_same_instrument_at_once(engine: AsyncEngine) -> None:
    async def ensure() -> Instrument:
        async with engine.begin() as conn:
            made = await InstrumentRepository(conn).ensure("BTC/USDT", 2, 6)
            await asyncio.sleep(0.1)
            return made

    assert len(set(await asyncio.gather(*(ensure() for _ in range(4))))) == 1


@pytest.mark.native
async def test_a_writer_keeps_its_instrument_from_changing_until_it_ends(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure("BTC/USDT", 2, 6)
    async with engine.connect() as writer, engine.connect() as second, engine.connect() as other:
        await InstrumentRepository(writer).get_for_write("BTC/USDT")
        await InstrumentRepository(second).get_for_write("BTC/USDT")
        await other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(Exception, match="lock timeout"):
            await other.execute(text("DELETE FROM instruments"))
        await other.rollback()


async def test_first_data_register_an_instrument_with_headroom(conn: AsyncConnection) -> None:
    instruments = InstrumentRepository(conn)
    made = await instruments.ensure_for_data("BTCUSDT", [61837.6], ["0.00001"])
    assert (made.price_scale, made.size_scale) == (3, 7)
    assert await instruments.ensure_for_data("BTC/USDT", [1.23456789], []) == made
    with pytest.raises(InvalidInputError, match="there are no values to infer a scale from"):
        await instruments.ensure_for_data("ETH/USDT", [], [])
    assert await instruments.find("ETH/USDT") is None


async def test_what_the_exchange_says_is_kept_and_renewed(conn: AsyncConnection) -> None:
    instruments = InstrumentRepository(conn)
    await instruments.ensure("BTC/USDT", 2, 5)
    assert await instruments.get_details("BTC/USDT") == {}
    await instruments.ensure("BTC/USDT", 2, 5, details={"tickSize": "0.01", "status": "TRADING"})
    for _ in range(2):
        await instruments.ensure("btcusdt", 2, 5, details={"tickSize": "0.10"})
    assert await instruments.get_details("BTC/USDT") == {"tickSize": "0.10", "status": "TRADING"}
    await instruments.ensure("ETH/USDT", 2, 5, details={"tickSize": "0.01"})
    assert await instruments.get_details("ETH/USDT") == {"tickSize": "0.01"}
