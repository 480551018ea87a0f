"""The outbox: what was promised is in the file, in order, whatever becomes of the process, the disk and the callers."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from datalayer.errors import OutboxCorruptError, OutboxError, OutboxInUseError
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.outbox import Outbox
from datalayer.ingestion.outbox_file import OutboxFile

if TYPE_CHECKING:
    from pathlib import Path

CANDLE, TRADE = EventKind.CANDLE, EventKind.TRADE
PATIENCE_S = 60


class Taken:
    """What became durable, by kind, in the order told."""

    def __init__(self) -> None:
        self.events: dict[EventKind, list[bytes]] = {}

    def __call__(self, kind: EventKind, first: int, payloads: list[bytes]) -> None:
        known = self.events.setdefault(kind, [])
        assert first == len(known) + 1
        known += payloads


def outbox(path: Path, taken: Taken | None = None, **options: Any) -> Outbox:
    return Outbox(path, on_durable=taken or Taken(), **options)


def numbered(count: int, size: int = 8) -> list[bytes]:
    return [n.to_bytes(size, "big") for n in range(1, count + 1)]


async def read_all(box: Outbox, kind: EventKind, after: int = 0) -> list[bytes]:
    found: list[bytes] = []
    while part := await box.read(kind, after + len(found), 100):
        found += part
    return found


@pytest.mark.parametrize("fsync", [False, True])
async def test_callers_of_one_moment_share_a_commit_and_find_their_events_again(
    tmp_path: Path, fsync: bool
) -> None:
    taken = Taken()
    async with outbox(tmp_path / "o", taken, fsync=fsync) as box:

        async def call(payload: bytes) -> None:
            box.put(CANDLE, payload)
            await box.durable()
            assert payload in taken.events[CANDLE]

        await asyncio.gather(*map(call, numbered(500)))
        assert box.commits <= 3
        box.put(TRADE, b"")
        await box.durable()
        assert box.last(TRADE) == 1
    async with outbox(tmp_path / "o") as box:
        assert await read_all(box, CANDLE) == numbered(500)
        assert await read_all(box, TRADE) == [b""]
        assert box.last(CANDLE) == 500


async def test_numbers_go_on_where_they_ended_though_everything_is_acknowledged(tmp_path: Path) -> None:
    for start in (0, 10, 20):
        async with Outbox(tmp_path / "o", on_durable=lambda *_: None) as box:
            assert (box.last(CANDLE), box.acknowledged(CANDLE)) == (start, start)
            for payload in numbered(10):
                box.put(CANDLE, payload)
            await box.durable()
            box.acknowledge(CANDLE, start + 4)
            assert await read_all(box, CANDLE, start + 4) == numbered(10)[4:]
            box.acknowledge(CANDLE, start + 10)
            assert await read_all(box, CANDLE, start + 10) == []


async def test_what_is_acknowledged_leaves_the_file(tmp_path: Path) -> None:
    """Many times as much as may be in it at a time goes through."""
    async with outbox(tmp_path / "o", max_bytes=2 * 2**20) as box:
        for turn in range(40):
            for payload in numbered(1000, size=1000):
                box.put(CANDLE, payload)
            await box.durable()
            box.acknowledge(CANDLE, (turn + 1) * 1000)
    assert (tmp_path / "o").stat().st_size <= 2 * 2**20


async def test_labels_are_there_with_the_events_that_refer_to_them(tmp_path: Path) -> None:
    async with outbox(tmp_path / "o") as box:
        numbers = {text: box.label(text) for text in ("BTC/USDT", "ETH/USDT", "BTC/USDT")}
        assert len(set(numbers.values())) == 2
        box.put(CANDLE, b"x")
        await box.durable()
    async with outbox(tmp_path / "o") as box:
        assert box.labels() == numbers
        assert box.label("BTC/USDT") == numbers["BTC/USDT"]


async def test_a_caller_who_is_cancelled_disturbs_nobody(tmp_path: Path) -> None:
    async with outbox(tmp_path / "o") as box:

        async def call(payload: bytes) -> None:
            box.put(CANDLE, payload)
            await box.durable()

        tasks = [asyncio.create_task(call(payload)) for payload in numbered(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(r) for r in results].count(asyncio.CancelledError) == 1
        assert set(await read_all(box, CANDLE)) == set(numbered(10))


@pytest.mark.parametrize("fsync", [False, True])
async def test_a_full_outbox_keeps_callers_waiting_and_raises_the_alarm(tmp_path: Path, fsync: bool) -> None:
    alarms: list[bool] = []

    def alarm(message: str, *, active: bool) -> None:
        assert "outbox" in message
        alarms.append(active)

    taken = Taken()
    async with outbox(tmp_path / "o", taken, max_bytes=2**18, fsync=fsync, on_alarm=alarm) as box:
        accepted: list[bytes] = []

        async def fill() -> None:
            for n in range(100):
                payload = n.to_bytes(4, "big") * 2500
                box.put(CANDLE, payload)
                await box.durable()
                accepted.append(payload)

        filling = asyncio.create_task(fill())
        async with asyncio.timeout(PATIENCE_S):
            while not box.is_full:  # noqa: ASYNC110 (there is nobody to tell)
                await asyncio.sleep(0)
            assert 10 < len(accepted) == box.last(CANDLE) < 100
            while not filling.done():
                box.acknowledge(CANDLE, len(accepted))
                await asyncio.sleep(0.01)
            await filling
        assert taken.events[CANDLE] == accepted
        assert alarms == [True, False] * (len(alarms) // 2)
        assert alarms


async def test_a_disk_without_room_is_waited_for(tmp_path: Path) -> None:
    """The operating system refuses a write, in a process of its own, as it does on a full disk."""
    script = """
        import asyncio, resource, signal, sys
        from pathlib import Path
        from datalayer.ingestion.events import EventKind
        from datalayer.ingestion.outbox import Outbox
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        async def main():
            box = Outbox(Path(sys.argv[1]), on_durable=lambda *_: None)
            async with box:
                soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
                count = 0
                while not box.is_full:
                    box.put(EventKind.CANDLE, count.to_bytes(10_000, "big"))
                    waiting = box.durable()
                    while not (box.is_full or waiting.done()):
                        await asyncio.sleep(0)
                    count += 1
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                await waiting
                found = []
                while part := await box.read(EventKind.CANDLE, len(found), 100):
                    found += part
                assert [int.from_bytes(p, "big") for p in found] == list(range(count)), count
                print("held", count > 10)

        asyncio.run(main())
    """
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "o"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout == "held True\n", done.stderr


HOLDER = """
    import asyncio, sys
    from pathlib import Path
    from datalayer.ingestion.events import EventKind
    from datalayer.ingestion.outbox import Outbox

    async def main():
        taken = []
        async with Outbox(Path(sys.argv[1]), on_durable=lambda *_: None) as box:
            async def feed(number):
                n = 0
                while True:
                    n += 1
                    box.put(EventKind.CANDLE, number.to_bytes(1, "big") + n.to_bytes(7, "big"))
                    await box.durable()
                    print(number, n, flush=True)
                    await asyncio.sleep(0)
            await asyncio.gather(*map(feed, range(int(sys.argv[2]))))

    asyncio.run(main())
"""


def running(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_promised_before_a_kill_is_there(tmp_path: Path, seed: int) -> None:
    feeds = 1 + seed % 3
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "o"), str(feeds)]
    with running(*command) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(random.Random(seed).randrange(1, 3000))]  # noqa: S311
        process.kill()
        lines += process.stdout.readlines()
    promised = [0] * feeds
    for number, n in (line.split() for line in lines if line.endswith("\n")):
        promised[int(number)] = int(n)
    async with outbox(tmp_path / "o") as box:
        found = await read_all(box, CANDLE)
        assert box.last(CANDLE) == len(found)
    for number in range(feeds):
        of_feed = [int.from_bytes(payload[1:], "big") for payload in found if payload[0] == number]
        assert of_feed == list(range(1, len(of_feed) + 1))
        assert len(of_feed) >= promised[number] >= 1


async def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "o"), "1"]
    with running(*command) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OutboxInUseError, match="another process"):
            await outbox(tmp_path / "o").open()
        process.kill()
        process.stdout.read()
    async with outbox(tmp_path / "o") as box:
        with pytest.raises(OutboxInUseError, match="this process"):
            await outbox(tmp_path / "o").open()
        assert await read_all(box, CANDLE)
    async with outbox(tmp_path / "o"):
        pass


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_file_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "text", tmp_path / "other", tmp_path / "newer"
    text.write_text("timestamp,open,high\n" * 100)
    (tmp_path / "empty").touch()
    for path, version in ((other, 0), (newer, 2)):
        if version:
            OutboxFile(path, max_bytes=2**20, fsync=False).close()
        db = sqlite3.connect(path)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("CREATE TABLE t (x)")
        db.commit()
        db.close()
    expected = {
        text: "no outbox",
        tmp_path / "empty": "no outbox",
        other: "something else",
        newer: "format 2",
    }
    for path, reason in expected.items():
        before = checksum(path)
        with pytest.raises(OutboxError, match=reason) as refused:
            await outbox(path).open()
        assert refused.value.path == path
        assert checksum(path) == before


async def test_damage_is_told_and_nothing_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "o"
    async with outbox(path) as box:
        for payload in numbered(3000, size=100):
            box.put(CANDLE, payload)
        await box.durable()
    content = bytearray(path.read_bytes())
    place = content.index((1500).to_bytes(100, "big"))
    content[place + 20] ^= 1
    path.write_bytes(content)
    async with outbox(path) as box:
        assert (await box.read(CANDLE, 0, 1000))[:1000] == numbered(3000, size=100)[:1000]
        with pytest.raises(OutboxCorruptError, match=r"candle events from 1001 on are damaged.*recover"):
            await read_all(box, CANDLE)
        assert box.last(CANDLE) == 3000
    content[200:4000] = b"\xff" * 3800
    path.write_bytes(content)
    with pytest.raises(OutboxCorruptError, match=r"malformed.*nothing was changed"):
        await outbox(path).open()
    assert path.read_bytes() == content
