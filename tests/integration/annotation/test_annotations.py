"""Labels, and the very data that they were made on, whatever becomes of history afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd
import pytest
from sqlalchemy import text

from datalayer import Timeframe, UnitOfWork
from datalayer.errors import AlteredDataError, ConflictError, InvalidInputError
from datalayer.integrations.annotation import Annotation, AnnotationStore, HistoricalDataLoader
from datalayer.repositories.rescale import widen_scales
from tests.cache_folders import real_candles
from tests.integration.annotation.conftest import BTC, DAY, MISSING, MOMENT

if TYPE_CHECKING:
    import datalayer.sync
    from datalayer import InferenceDataFrame

MINUTE = timedelta(minutes=1)


def annotation(**change: Any) -> Annotation:
    values = {"symbol": "BTCUSDT", "timeframes": ("5m", "1m"), "label": "breakout", "author": "anna"}
    return Annotation(**{**values, "start": MOMENT, "end": MOMENT + 10 * MINUTE, **change})


@pytest.fixture
def frame(loader: HistoricalDataLoader) -> InferenceDataFrame:
    return loader.get_context(BTC, MOMENT, window_minutes=30)


def correct(market: datalayer.sync.UnifiedDataProvider, *rows: pd.DataFrame) -> None:
    async def write() -> None:
        async with UnitOfWork(market.asynchronous.database) as uow:
            for row in rows:
                await uow.candles.upsert_candles(BTC, "1m", row)
            await uow.commit()

    market.run(write())


def execute(market: datalayer.sync.UnifiedDataProvider, statement: str) -> Any:
    async def run() -> Any:
        async with UnitOfWork(market.asynchronous.database) as uow:
            done = await uow.connection.execute(text(statement))
            found = done.all() if done.returns_rows else None
            await uow.commit()
            return found

    return market.run(run())


def test_a_label_shows_what_it_was_made_on_and_what_has_changed_since(
    market: datalayer.sync.UnifiedDataProvider,
    loader: HistoricalDataLoader,
    store: AnnotationStore,
    frame: InferenceDataFrame,
) -> None:
    saved = store.save(annotation(), frame)
    assert saved.timeframes == (Timeframe.M1, Timeframe.M5)
    assert saved.data_hash == frame.content_hash()
    assert store.list_changes(saved.id).empty

    minutes = real_candles(0, 600)
    wrong = minutes.loc[[MOMENT + 3 * MINUTE]].assign(close=70_000.0, high=70_000.0)
    beyond = minutes.loc[[MOMENT + 200 * MINUTE]].assign(volume=1.0)
    correct(market, wrong, minutes.loc[[MISSING]], beyond)
    execute(market, f"DELETE FROM candles WHERE ts = '{MOMENT + 20 * MINUTE}'")

    assert store.get_data(saved.id) == frame
    assert loader.get_context(BTC, MOMENT, window_minutes=30) != frame
    changes = store.list_changes(saved.id)
    assert {(t, at - MOMENT): change for (t, at), change in changes["change"].items()} == {
        ("1m", 3 * MINUTE): "changed",
        ("1m", 7 * MINUTE): "added",
        ("1m", 20 * MINUTE): "removed",
        ("5m", 0 * MINUTE): "changed",
        ("5m", 5 * MINUTE): "changed",
        ("5m", 20 * MINUTE): "changed",
    }
    changed = changes.loc[("1m", MOMENT + 3 * MINUTE)]
    assert changed["close_then"] == minutes["close"][MOMENT + 3 * MINUTE]
    assert changed["close_now"] == 70_000.0
    assert changed["open_then"] == changed["open_now"]
    assert pd.isna(changes.loc[("1m", MISSING), "close_then"])
    assert changes.loc[("1m", MISSING), "close_now"] == minutes["close"][MISSING]


def test_a_finer_scale_is_no_change(
    market: datalayer.sync.UnifiedDataProvider, store: AnnotationStore, frame: InferenceDataFrame
) -> None:
    saved = store.save(annotation(), frame)

    async def widen() -> None:
        async with UnitOfWork(market.asynchronous.database) as uow:
            await widen_scales(uow.connection, BTC, price_scale=4)
            await uow.commit()

    market.run(widen())
    assert store.list_changes(saved.id).empty


def test_saving_may_be_repeated_and_equal_data_are_kept_once(
    market: datalayer.sync.UnifiedDataProvider, store: AnnotationStore, frame: InferenceDataFrame
) -> None:
    one = annotation()
    assert store.save(one, frame) == store.save(one, frame)
    store.save(annotation(label="range"), frame)
    assert execute(market, "SELECT count(*) FROM annotations")[0][0] == 2
    assert execute(market, "SELECT count(*) FROM annotation_data")[0][0] == 1
    with pytest.raises(ConflictError, match="somebody else has edited it"):
        store.save(replace(one, label="other"), frame)


def test_editing_and_deleting_keep_every_revision(
    store: AnnotationStore, loader: HistoricalDataLoader, frame: InferenceDataFrame
) -> None:
    first = store.save(annotation(note="at first"), frame)
    again = loader.get_context(BTC, MOMENT, window_minutes=60)
    second = store.save(first.edited(author="boris", label="fake breakout", end=MOMENT + 5 * MINUTE), again)
    assert (second.revision, second.author, second.note) == (2, "boris", "at first")
    assert second.created_at == first.created_at
    assert store.save(first.edited(author="boris", label="fake breakout", end=second.end), again) == second
    with pytest.raises(ConflictError):
        store.save(first.edited(author="carla", label="range"))
    with pytest.raises(ConflictError, match="the last revision is 2"):
        store.save(replace(second, revision=9))

    third = store.save(second.edited(author="carla", note="checked"))
    assert third.data_hash == second.data_hash
    assert store.delete(first.id, author="carla") is True
    assert store.delete(first.id, author="carla") is False
    assert store.list_annotations() == []
    assert store.get(first.id).is_deleted
    found = store.list_revisions(first.id)
    assert [(one.revision, one.author, one.label) for one in found] == [
        (1, "anna", "breakout"),
        (2, "boris", "fake breakout"),
        (3, "carla", "fake breakout"),
        (4, "carla", "fake breakout"),
    ]
    assert store.get_data(first.id, 1) == frame
    assert store.get_data(first.id) == again
    back = store.save(found[-1].edited(author="anna", is_deleted=False))
    assert store.list_annotations() == [back]


def test_of_edits_at_the_same_time_one_wins(store: AnnotationStore, frame: InferenceDataFrame) -> None:
    first = store.save(annotation(), frame)

    def edit(number: int) -> Annotation | None:
        try:
            return store.save(first.edited(author=f"author {number}", label=f"label {number}"))
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        done = [one for one in pool.map(edit, range(8)) if one is not None]
    assert done == store.list_revisions(first.id)[1:]
    assert len(done) == 1


def test_lists_by_symbol_range_label_author_and_time(
    store: AnnotationStore, frame: InferenceDataFrame
) -> None:
    early = store.save(annotation(start=MOMENT - 10 * MINUTE, end=MOMENT), frame)
    late = store.save(annotation(label="range", author="boris"), frame)
    assert store.list_annotations(symbol="btcusdt") == [early, late]
    assert store.list_annotations(symbol="ETH/USDT") == []
    assert store.list_annotations(start=MOMENT) == [late]
    assert store.list_annotations(end=MOMENT) == [early]
    assert store.list_annotations(start=MOMENT - 1 * MINUTE, end=MOMENT + 1 * MINUTE) == [early, late]
    assert store.list_annotations(label="range") == store.list_annotations(author="boris") == [late]
    then = late.updated_at
    edited = store.save(late.edited(author="anna", label="breakout"))
    store.delete(early.id, author="anna")
    assert store.list_annotations() == [edited]
    assert store.list_annotations(as_of=then) == [early, late]
    assert store.list_annotations(as_of=DAY) == []


def test_what_does_not_show_the_label_is_refused(
    store: AnnotationStore, loader: HistoricalDataLoader, frame: InferenceDataFrame
) -> None:
    with pytest.raises(InvalidInputError, match="needs what it was made on"):
        store.save(annotation())
    with pytest.raises(InvalidInputError, match="larger context_window_minutes"):
        store.save(annotation(start=MOMENT + 40 * MINUTE, end=MOMENT + 50 * MINUTE), frame)
    for beyond in ({"end": MOMENT + 31 * MINUTE}, {"start": MOMENT - 101 * MINUTE}):
        with pytest.raises(InvalidInputError, match="does not show the candles of 1m"):
            store.save(annotation(**beyond, timeframes=("1m",)), frame)
    bare = loader.get_context(BTC, MOMENT + 0.5 * MINUTE, window_minutes=0)  # has the minute that forms
    with pytest.raises(InvalidInputError, match="does not show the candles of 1m"):
        store.save(annotation(end=MOMENT + MINUTE, timeframes=("1m",)), bare)
    with pytest.raises(InvalidInputError, match="the candles of 1d"):
        store.save(annotation(timeframes=("1d",)), frame)
    with pytest.raises(InvalidInputError, match="another symbol"):
        store.save(annotation(symbol="ETH/USDT"), frame)
    with pytest.raises(InvalidInputError, match="no such annotation"):
        store.get(uuid4())
    saved = store.save(annotation(), frame)
    with pytest.raises(InvalidInputError, match="revision=2"):
        store.get_data(saved.id, 2)
    assert store.save(annotation(start=MISSING, end=MISSING + 2 * MINUTE, timeframes=("1m",)), frame)
    with pytest.raises(InvalidInputError, match="does not show"):
        store.save(annotation(start=MISSING, end=MISSING + MINUTE, timeframes=("1m",)), frame)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE annotation_data SET frame = set_byte(frame, 50, (get_byte(frame, 50) + 1) % 256)",
        "UPDATE annotation_data SET frame = (SELECT frame FROM annotation_data ORDER BY content_hash DESC LIMIT 1)",
    ],
)
def test_altered_data_are_told_and_never_shown(
    market: datalayer.sync.UnifiedDataProvider,
    store: AnnotationStore,
    loader: HistoricalDataLoader,
    frame: InferenceDataFrame,
    damage: str,
) -> None:
    other = loader.get_context(BTC, MOMENT + MINUTE, window_minutes=30)
    saved = sorted([store.save(annotation(), f) for f in (frame, other)], key=lambda one: one.data_hash or "")
    execute(market, damage)
    with pytest.raises(AlteredDataError, match="was altered"):
        store.get_data(saved[0].id)
    with pytest.raises(AlteredDataError):
        store.training_rows([saved[0]])


def test_rows_for_training_show_what_was_known_at_their_moment(
    market: datalayer.sync.UnifiedDataProvider, store: AnnotationStore, frame: InferenceDataFrame
) -> None:
    saved = store.save(annotation(), frame)
    other = store.save(annotation(label="before", start=MOMENT - 5 * MINUTE, end=MOMENT), frame)
    correct(market, real_candles(0, 600).loc[[MOMENT + 200 * MINUTE]].assign(volume=1.0))
    rows = store.training_rows([other, saved])
    assert rows["label"].tolist() == ["before"] * 5 + ["breakout"] * 9
    assert (rows["open_time"] + MINUTE == rows.index).all()
    assert MISSING not in set(rows["open_time"])
    for moment, row in rows.iterrows():
        known = market.get_multi_timeframe_data(BTC, limit=1, align=False, as_of=moment.to_pydatetime())
        for timeframe, table in known.items():
            for name in ("open", "high", "low", "close", "volume"):
                assert row[f"{timeframe}.{name}"] == table[name].iloc[-1], (moment, timeframe, name)
    nothing = store.training_rows([])
    assert nothing.empty
    assert nothing.index.dtype == rows.index.dtype == "datetime64[us, UTC]"


def test_what_is_not_committed_is_not_there(
    market: datalayer.sync.UnifiedDataProvider, store: AnnotationStore, frame: InferenceDataFrame
) -> None:
    async def give_up() -> None:
        async with UnitOfWork(market.asynchronous.database) as uow:
            await uow.annotations.save(annotation(), frame)

    market.run(give_up())
    assert store.list_annotations() == []
    assert execute(market, "SELECT count(*) FROM annotation_data")[0][0] == 0
