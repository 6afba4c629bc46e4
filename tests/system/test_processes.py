import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from flows import processes

SLEEP = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"


@pytest.fixture
def stack_id() -> Iterator[str]:
    name = f"test-{uuid4().hex}"
    yield name
    processes.stop(processes.marked(name), grace_s=1)


def _start(code: str, tmp_path: Path, stack_id: str) -> psutil.Popen:
    return processes.start([sys.executable, "-c", code], {}, tmp_path / "log", stack_id)


def _child_of(process: psutil.Process) -> psutil.Process:
    deadline = time.monotonic() + 20
    while not (children := process.children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return children[0]


def test_stop_ends_descendants_too(tmp_path: Path, stack_id: str) -> None:
    parent = _start(PARENT, tmp_path, stack_id)
    child = _child_of(parent)
    processes.stop([parent], grace_s=2)
    assert not processes.is_running(parent)
    assert not processes.is_running(child)


def test_stop_kills_what_ignores_the_request(tmp_path: Path, stack_id: str) -> None:
    stubborn = _start(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); {SLEEP}",
        tmp_path,
        stack_id,
    )
    time.sleep(0.5)
    processes.stop([stubborn], grace_s=0.3)
    assert not processes.is_running(stubborn)


def test_orphan_is_found_by_its_mark_and_a_stranger_is_not(tmp_path: Path, stack_id: str) -> None:
    parent = _start(PARENT, tmp_path, stack_id)
    stranger = _start(SLEEP, tmp_path, f"other-{stack_id}")
    child = _child_of(parent)
    parent.kill()
    parent.wait()
    found = [process.pid for process in processes.marked(stack_id)]
    processes.stop([stranger], grace_s=1)
    assert found == [child.pid]


def test_pid_that_was_given_to_another_process_is_not_ours(tmp_path: Path, stack_id: str) -> None:
    process = _start(SLEEP, tmp_path, stack_id)
    assert processes.find(process.pid, process.create_time()) is not None
    assert processes.find(process.pid, process.create_time() - 100) is None
    processes.stop([process], grace_s=1)
    assert processes.find(process.pid, process.create_time()) is None


def test_log_of_the_run_before_is_kept(tmp_path: Path, stack_id: str) -> None:
    for word in ("first", "second"):
        _start(f"print({word!r})", tmp_path, stack_id).wait()
    assert (tmp_path / "log").read_text() == "second\n"
    assert (tmp_path / "log.old.log").read_text() == "first\n"


def test_taken_port_is_reported_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not processes.port_is_free("127.0.0.1", port)
        assert f"pid {os.getpid()}" in processes.port_holder(port)
    assert processes.port_is_free("127.0.0.1", port)
