"""Label a moment of the real month that comes with the package, correct a candle afterwards, and see what the label says then.

    python examples/annotation.py

It runs on an embedded database that is gone when it ends; nothing else is needed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import datalayer.sync
from datalayer import Annotation, Timeframe, UnitOfWork
from datalayer.demo.samples import load_month
from datalayer.integrations.annotation import AnnotationStore, HistoricalDataLoader

SYMBOL = "BTC/USDT"
MOMENT = datetime(2024, 8, 5, 6, 30, tzinfo=UTC)  # a crash: 49,000 after 58,000 the evening before
MONTH = load_month()


async def write(market: datalayer.UnifiedDataProvider, candles: object) -> None:
    async with UnitOfWork(market.database) as uow:
        await uow.instruments.ensure(SYMBOL, price_scale=2, size_scale=5)
        await uow.candles.upsert_candles(SYMBOL, "1m", candles)
        await uow.commit()


def main() -> None:
    with datalayer.sync.connect("embedded:///:memory:") as market:
        market.run(write(market.asynchronous, MONTH["2024-08-04":"2024-08-06"]))
        loader, store = HistoricalDataLoader(market), AnnotationStore(market)

        frame = loader.get_context(SYMBOL, MOMENT, window_minutes=60, timeframes=["1m", "5m", "1h"])
        print("known at the moment:\n", frame.candles[Timeframe.H1]["close"].tail(4).to_string(), "\n")

        span = {"start": MOMENT, "end": MOMENT + timedelta(minutes=15)}
        crash = Annotation(SYMBOL, ("1m",), **span, label="capitulation", author="anna")
        saved = store.save(crash, frame)
        print(
            f"{saved.label} by {saved.author} in [{saved.start:%H:%M}, {saved.end:%H:%M}), data {saved.data_hash:.12}…\n"
        )

        rows = store.training_rows(store.list_annotations(symbol=SYMBOL))
        print(rows[["label", "1m.close", "5m.close", "1h.close"]].head(3).to_string(), "\n")

        wrong = MONTH.loc[[MOMENT + timedelta(minutes=5)]].assign(volume=1.0)
        market.run(write(market.asynchronous, wrong))
        assert store.get_data(saved.id) == frame
        print(
            "after a correction the label still shows what it was made on, and says what is otherwise today:"
        )
        print(store.list_changes(saved.id)[["change", "volume_then", "volume_now"]].to_string())


if __name__ == "__main__":
    main()
