from __future__ import annotations

import pytest

from datalayer.demo.samples import load_recording
from datalayer.integrations.binance.messages import Message, parse_capture_line
from datalayer.integrations.binance.replay import StreamReplay


@pytest.fixture(scope="session")
def capture() -> list[Message]:
    """The real recording that ships with the demo."""
    return [parse_capture_line(line).message for line in load_recording()]


@pytest.fixture(scope="session")
def replayed(capture: list[Message]) -> StreamReplay:
    replay = StreamReplay()
    for message in capture:
        replay.feed(message)
    return replay
