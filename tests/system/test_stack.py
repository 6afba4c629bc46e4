"""The stack's own logic, with small programs in place of the services."""

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import processes, stack, startup
from flows.services import Service
from infra.errors import InfrastructureError, InputError
from infra.settings import Settings

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
DIES = "print('line one'); print('no such database'); raise SystemExit(7)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, serve_port=processes.free_port("127.0.0.1"))


class _World:
    """Lets a test say what the stack consists of; stops everything at the end."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.services: list[Service] = []
        self.popens: list[psutil.Popen] = []
        once = Service(name="deployments", command=[sys.executable, "-c", "pass"], once=True)
        patch.setattr(stack, "services", lambda _settings: self.services)
        patch.setattr(stack, "deployments", lambda **_: once)
        patch.setattr(stack, "serve_champion", lambda *_: None)
        start = processes.start

        def remembering(*arguments: Any) -> psutil.Popen:
            self.popens.append(start(*arguments))
            return self.popens[-1]

        patch.setattr(processes, "start", remembering)

    def server(self, name: str, **changes: Any) -> None:
        port = processes.free_port("127.0.0.1")
        values: dict[str, Any] = {
            "name": name,
            "command": [sys.executable, "-c", SERVER, str(port)],
            "ports": {f"REEL_{name.upper()}_PORT": port},
            "health_url": f"http://127.0.0.1:{port}/",
        }
        self.services.append(Service(**{**values, **changes}))

    def up(self) -> list[str]:
        said: list[str] = []
        stack.up(self.settings, said.append)
        return said


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[_World]:
    found = _World(settings, monkeypatch)
    yield found
    stack.down(settings)
    for process in found.popens:
        process.poll()  # `down` has reaped it; without this Popen would not know


def test_up_status_down(world: _World) -> None:
    world.server("prefect")
    world.server("mlflow")
    said = world.up()
    assert [row.state for row in stack.status(world.settings)] == ["running", "running", "idle"]
    assert {line.split()[0] for line in said} >= {"prefect", "mlflow"}
    assert sorted(stack.down(world.settings)) == ["mlflow", "prefect"]
    assert [row.state for row in stack.status(world.settings)] == ["stopped", "stopped", "idle"]
    assert stack.down(world.settings) == []


def test_up_again_starts_only_what_is_missing(world: _World) -> None:
    world.server("prefect")
    world.server("mlflow")
    world.up()
    before = {row.name: row.pid for row in stack.status(world.settings)}
    assert world.up() == ["everything is running already"]
    processes.stop([psutil.Process(before["mlflow"])])
    world.up()
    after = {row.name: row.pid for row in stack.status(world.settings)}
    assert after["prefect"] == before["prefect"]
    assert after["mlflow"] not in (None, before["mlflow"])


def test_port_of_a_stranger_is_named_before_anything_starts(world: _World) -> None:
    world.server("prefect")
    world.server("mlflow")
    (taken,) = world.services[1].ports.values()
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(InputError) as caught:
        world.up()
    for part in (str(taken), "mlflow", "REEL_MLFLOW_PORT", "pid"):
        assert part in str(caught.value)
    assert world.popens == []
    assert not (world.settings.home / "stack.json").exists()


def test_service_that_dies_says_its_last_words_and_takes_the_others_down(world: _World) -> None:
    world.server("prefect")
    world.server("mlflow", command=[sys.executable, "-c", DIES])
    with pytest.raises(InfrastructureError, match="no such database") as caught:
        world.up()
    assert "mlflow ended with status 7" in str(caught.value)
    assert not any(processes.is_running(process) for process in world.popens)


def test_failed_up_leaves_what_was_running_before(world: _World) -> None:
    world.server("prefect")
    world.up()
    world.server("mlflow", command=[sys.executable, "-c", DIES])
    with pytest.raises(InfrastructureError):
        world.up()
    assert stack.status(world.settings)[0].state == "running"


def test_service_waits_for_the_one_that_it_needs(world: _World) -> None:
    started = world.settings.home / "started"
    stamp = f"import pathlib, time; pathlib.Path({str(started)!r}).write_text(str(time.time()))"
    slow = f"import time; time.sleep(0.6); {SERVER}"
    world.server("prefect", command=[sys.executable, "-c", slow, ""])
    (port,) = world.services[0].ports.values()
    world.services[0].command[-1] = str(port)
    world.services.append(
        Service(
            name="worker",
            command=[sys.executable, "-c", f"{stamp}; time.sleep(60)"],
            needs="prefect",
        )
    )
    begun = time.time()
    world.up()
    deadline = time.monotonic() + 10
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert float(started.read_text()) - begun > 0.6


def test_silent_service_is_given_up(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "START_TIMEOUT_S", 0.5)
    world.server("prefect", command=[sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(InfrastructureError, match="no answer from prefect"):
        world.up()
    assert not any(processes.is_running(process) for process in world.popens)


def test_service_that_may_try_again_gets_its_second_chance(world: _World) -> None:
    mark = world.settings.home / "tried"
    once = f"import pathlib; p = pathlib.Path({str(mark)!r}); t = p.exists(); p.touch()"
    world.server("ray", tries=2)
    world.services[0].command[2] = f"{once}; t or exit(1)\n{SERVER}"
    said = world.up()
    assert said[0] == "ray          ended with status 1, starting it again"
    assert stack.status(world.settings)[0].state == "running"


def test_service_is_up_only_when_its_log_shows_the_sign(world: _World) -> None:
    world.server("ray", ready_sign="runtime started")
    late = "import threading as t; t.Timer(0.6, print, ['runtime started'], {'flush': 1}).start()"
    world.services[0].command[2] = f"{late}\n{SERVER}"
    begun = time.monotonic()
    world.up()
    assert time.monotonic() - begun > 0.6
