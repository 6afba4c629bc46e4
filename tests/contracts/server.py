"""A server process of the real app over a fake model, which tests start, kill and start again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "serving_server.py"


class Server:
    """Lives on a folder; keeps its port from start to start."""

    def __init__(self, home: Path, step_s: float, **settings: str) -> None:
        self.home, self.step_s = home, step_s
        self.settings = {"REEL_PRIVATE_HOSTS": '["127.0.0.1"]'} | settings
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, str(SCRIPT), str(self.home), str(self.port), str(self.step_s)]
        self.process = subprocess.Popen(command, env=os.environ | self.settings)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=10):
                    return
            except urllib.error.URLError:
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.1)
        raise AssertionError("the server does not answer")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self.process.pid, how)
        self.process.wait(30)


@contextmanager
def serving(home: Path, step_s: float, **settings: str) -> Iterator[Server]:
    """A started server, killed at the end."""
    server = Server(home, step_s, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
