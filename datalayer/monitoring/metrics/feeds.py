"""Metrics of a live feed, from its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.monitoring.metrics.families import LateCollector, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from datalayer.integrations.feeds import FeedStatistics


class FeedCollector(LateCollector):
    """The statistics of a feed.

    Args:
        snapshot: returns them.
    """

    def __init__(self, snapshot: Callable[[], FeedStatistics]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Return everything."""
        found = self._snapshot()
        of, connections = (found.exchange,), found.connections
        ages = [one.last_message_age_s for one in connections if one.last_message_age_s is not None]
        up = sum(one.connected_since is not None for one in connections)

        def by(names: Mapping[str, int]) -> list[tuple[tuple[str, str], int]]:
            return [((*of, name), count) for name, count in names.items()]

        name = "datalayer_feed_"
        states = {"up": up, "down": len(connections) - up}
        yield gauge(f"{name}connections", "Connections, by state.", by(states), ("exchange", "state"))
        yield gauge(
            f"{name}last_message_age_seconds",
            "Time since the last message, of the connection that has waited longest; absent: nothing came yet.",
            [(of, max(ages))] if ages else [],
            ("exchange",),
        )
        for what, text in (
            ("reconnects", "Connections that were lost and made again."),
            ("handovers", "Connections replaced before they ended."),
        ):
            total = sum(getattr(one, what) for one in connections)
            yield counter(f"{name}{what}", text, [(of, total)], ("exchange",))
        yield counter(f"{name}events", "Events, by kind.", by(found.events), ("exchange", "kind"))
        yield counter(
            f"{name}faults",
            "Messages and events that were not as they should be, by kind.",
            by(found.faults),
            ("exchange", "kind"),
        )
        yield gauge(
            f"{name}gaps",
            "Holes since the start, by what became of them.",
            by(found.gaps),
            ("exchange", "state"),
        )
        yield gauge(
            f"{name}invalid_books",
            "Local order books that wait for a snapshot.",
            [(of, len(found.invalid_books))],
            ("exchange",),
        )
