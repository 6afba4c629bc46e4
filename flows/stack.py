"""The local stack: start it, look at it, stop it. Touches only processes that it started.

`HOME/stack.json` has each service's pid and creation time, `HOME/logs/NAME.log` its output.
"""

import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flows import processes
from flows.services import Service, deployments, ray_temp_dir, services
from infra.errors import InfrastructureError, InputError, JobError
from infra.job_files import read_json, write_json
from infra.settings import Settings

START_TIMEOUT_S = 180.0
POLL_S = 0.25
LAST_LINES = 15
CHAMPION_PATH = "/api/2.0/mlflow/registered-models/alias"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One line of `reel status`."""

    name: str
    state: str  # "running" | "not answering" | "stopped" | "idle" (serving without a champion)
    pid: int | None
    url: str


@dataclass
class _Pidfile:
    path: Path
    stack_id: str = ""
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings) -> "_Pidfile":
        path = settings.home / "stack.json"
        saved = read_json(path)
        if saved is None:
            return cls(path, uuid.uuid4().hex)
        return cls(path, saved["stack_id"], saved["services"])

    def process(self, name: str) -> psutil.Process | None:
        entry = self.entries.get(name)
        return processes.find(entry["pid"], entry["create_time"]) if entry else None

    def add(self, name: str, process: psutil.Popen) -> None:
        self.entries[name] = {"pid": process.pid, "create_time": process.create_time()}
        write_json(self.path, {"stack_id": self.stack_id, "services": self.entries})


def up(settings: Settings, say: Say = print) -> None:
    """Start what is not running yet, and wait until everything answers.

    Raises:
        InputError: a port belongs to another program; nothing was started.
        InfrastructureError: a service ended or stayed silent; everything started was stopped.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    pidfile = _Pidfile.load(settings)
    missing = [service for service in services(settings) if not pidfile.process(service.name)]
    if not missing:
        say("everything is running already")
        serve_champion(settings, say)
        return
    _check_ports(settings, missing)
    registration = deployments(settle="worker" in [service.name for service in missing])
    started: dict[str, psutil.Popen] = {}
    try:
        _start_all(settings, pidfile, [*missing, registration], started, say)
    except BaseException:
        processes.stop(list(started.values()))
        raise
    serve_champion(settings, say)


def serve_champion(settings: Settings, say: Say) -> None:
    """Deploy the champion unless there is none or it is served already."""
    alias = f"{CHAMPION_PATH}?name=reel-generator&alias=champion"
    if _is_served(settings) or not answers(f"{settings.mlflow_url}{alias}"):
        return
    from flows.client import run_and_follow

    try:
        run_and_follow("deploy-model", {}, say)
    except JobError as error:
        say(f"everything runs, but the champion is not served: {error}")


def _is_served(settings: Settings) -> bool:
    return answers(f"{settings.serve_url}/healthz")


def _check_ports(settings: Settings, missing: list[Service]) -> None:
    wanted = {variable: (s.name, port) for s in missing for variable, port in s.ports.items()}
    if "ray" in [service.name for service in missing]:  # serving lives inside Ray
        wanted["REEL_SERVE_PORT"] = ("serving", settings.serve_port)
    for variable, (name, port) in wanted.items():
        if not processes.port_is_free(settings.host, port):
            raise InputError(
                f"port {port}, which {name} needs, is in use by {processes.port_holder(port)}; "
                f"stop that program, or set {variable} to a free port"
            )


def _start_all(
    settings: Settings,
    pidfile: _Pidfile,
    waiting: list[Service],
    started: dict[str, psutil.Popen],
    say: Say,
) -> None:
    begun = time.monotonic()
    names = {service.name for service in waiting}
    unhealthy: list[Service] = []
    while waiting or unhealthy:
        pending = {service.name for service in [*waiting, *unhealthy]}
        for service in [s for s in waiting if s.needs not in pending & names]:
            waiting.remove(service)
            unhealthy.append(service)
            started[service.name] = _start(settings, service, pidfile)
        for service in list(unhealthy):
            if _is_up(settings, service, started[service.name]):
                unhealthy.remove(service)
                say(f"{service.name:<12} {service.url or 'done'}  {time.monotonic() - begun:.0f} s")
        if time.monotonic() - begun > START_TIMEOUT_S:
            slow = ", ".join(service.name for service in unhealthy)
            raise InfrastructureError(
                f"no answer from {slow} in {START_TIMEOUT_S:.0f} s; see {settings.home / 'logs'}"
            )
        time.sleep(POLL_S)


def _start(settings: Settings, service: Service, pidfile: _Pidfile) -> psutil.Popen:
    if service.name == "ray":
        shutil.rmtree(ray_temp_dir(settings), ignore_errors=True)
    process = processes.start(
        service.command,
        {**settings.process_env(), **service.env},
        log_path(settings, service.name),
        pidfile.stack_id,
    )
    if not service.once:
        pidfile.add(service.name, process)
    return process


def _is_up(settings: Settings, service: Service, process: psutil.Popen) -> bool:
    status = process.poll()
    if service.once and status == 0:
        return True
    if status is not None:
        raise InfrastructureError(
            f"{service.name} ended with status {status} while starting; its last lines "
            f"({log_path(settings, service.name)}):\n{_last_lines(settings, service.name)}"
        )
    return not service.once and (not service.health_url or answers(service.health_url))


def log_path(settings: Settings, name: str) -> Path:
    """Where the output of service `name` goes."""
    return settings.home / "logs" / f"{name}.log"


def _last_lines(settings: Settings, name: str) -> str:
    lines = log_path(settings, name).read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """True when a GET of `url` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def status(settings: Settings) -> list[Row]:
    """The state of every service, serving last."""
    pidfile = _Pidfile.load(settings)
    rows = []
    for service in services(settings):
        process = pidfile.process(service.name)
        state = "stopped"
        if process is not None:
            healthy = not service.health_url or answers(service.health_url)
            state = "running" if healthy else "not answering"
        rows.append(Row(service.name, state, process.pid if process else None, service.url))
    serving = rows[-1].state == "running" and _is_served(settings)
    rows.append(Row("serving", "running" if serving else "idle", None, settings.serve_url))
    return rows


def down(settings: Settings) -> list[str]:
    """Stop everything that `up` started and everything that came out of it; the names of it."""
    pidfile = _Pidfile.load(settings)
    if not pidfile.entries:
        return []
    running = {name: process for name in pidfile.entries if (process := pidfile.process(name))}
    processes.stop(list(running.values()))
    # Flow runs and job drivers whose parents had died before.
    processes.stop(processes.marked(pidfile.stack_id))
    pidfile.path.unlink()
    shutil.rmtree(ray_temp_dir(settings), ignore_errors=True)
    return list(running)
