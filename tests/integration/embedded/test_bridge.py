"""The JavaScript side's own tests, run by Node's test runner with the runtime that the Python side installs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from datalayer.config import Settings
from datalayer.embedded.node import get_node
from datalayer.embedded.runtime import ensure_runtime

SUITE_LIMIT_S = 240.0  # the slowest takes 30
SUITES = sorted((Path(__file__).parents[2] / "bridge").glob("*.test.mjs"))


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_bridge(suite: Path) -> None:
    code, output = _run(suite, SUITE_LIMIT_S)
    assert code == 0, output
    assert "pass 0" not in output


def test_a_suite_that_hangs_fails_and_leaves_no_process(tmp_path: Path) -> None:
    suite = tmp_path / "hangs.test.mjs"
    suite.write_text(
        f"""
        import {{ spawn }} from 'node:child_process'
        import fs from 'node:fs'
        import test from 'node:test'
        const child = spawn('sleep', ['1000'])
        fs.writeFileSync({str(tmp_path / "pid")!r}, String(child.pid))
        test('hangs', () => new Promise(() => setInterval(() => {{}}, 1000)))
        """
    )
    with pytest.raises(pytest.fail.Exception, match="not done within"):
        _run(suite, 3.0)
    assert not _is_running(int((tmp_path / "pid").read_text()))


def _run(suite: Path, limit_s: float) -> tuple[int, str]:
    """Run a suite in a process group of its own, which is ended in any case: Node 18 has no `--test-timeout`."""
    runtime = ensure_runtime(Settings.load().cache_dir, print)
    with subprocess.Popen(
        [get_node(with_npm=False).executable, "--test", str(suite)],
        env={**os.environ, "DATALAYER_EMBEDDED_RUNTIME": str(runtime)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            output, _ = run.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            pytest.fail(f"{suite.name}: not done within {limit_s} s\n{run.communicate()[0]}")
        finally:
            with contextlib.suppress(ProcessLookupError):  # as it should be
                os.killpg(run.pid, signal.SIGKILL)
    return run.returncode, output


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except (ProcessLookupError, FileNotFoundError):
        return False
