"""Starting services together: each as soon as what it needs is healthy, all or none.

`HOME/stack.json` has each service's pid and creation time, `HOME/logs/NAME.log` its output.
"""

import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flows import processes
from flows.services import Service, ray_temp_dir
from infra.errors import InfrastructureError
from infra.job_files import read_json, write_json
from infra.settings import Settings

START_TIMEOUT_S = 240.0
POLL_S = 0.25
LAST_LINES = 15

Say = Callable[[str], None]


@dataclass
class Pidfile:
    """Which processes are ours: survives the command that started them."""

    path: Path
    stack_id: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings) -> "Pidfile":
        """What an earlier command left, or a new stack without processes."""
        path = settings.home / "stack.json"
        saved = read_json(path)
        if saved is None:
            return cls(path, uuid.uuid4().hex)
        return cls(path, saved["stack_id"], saved["services"])

    def process(self, name: str) -> psutil.Process | None:
        """The running process of service `name`."""
        entry = self.entries.get(name)
        return processes.find(entry["pid"], entry["create_time"]) if entry else None

    def add(self, name: str, process: psutil.Popen) -> None:
        """Remember a process at once, so that a killed command leaves no unknown ones."""
        self.entries[name] = {"pid": process.pid, "create_time": process.create_time()}
        write_json(self.path, {"stack_id": self.stack_id, "services": self.entries})


class Startup:
    """Starts services and waits until all are healthy.

    started = Startup(settings, Pidfile.load(settings), print).run(services)
    """

    def __init__(self, settings: Settings, pidfile: Pidfile, say: Say) -> None:
        self._settings = settings
        self._pidfile = pidfile
        self._say = say
        self._begun = time.monotonic()
        self._started: dict[str, psutil.Popen] = {}
        self._tries = Counter[str]()

    def run(self, services: Sequence[Service]) -> dict[str, psutil.Popen]:
        """The processes by name, all healthy.

        Raises:
            InfrastructureError: a service ended or stayed silent; all started here were stopped.
        """
        try:
            self._bring_up(list(services))
        except BaseException:
            processes.stop(list(self._started.values()))
            raise
        return self._started

    def _bring_up(self, waiting: list[Service]) -> None:
        starting: list[Service] = []
        while waiting or starting:
            pending = {service.name for service in [*waiting, *starting]}
            for service in [entry for entry in waiting if entry.needs not in pending]:
                waiting.remove(service)
                starting.append(service)
                self._start(service)
            for service in [entry for entry in starting if self._is_up(entry)]:
                starting.remove(service)
                self._say(f"{service.name:<12} {service.url or 'done'}  {self._elapsed_s:.0f} s")
            if self._elapsed_s > START_TIMEOUT_S:
                slow = ", ".join(service.name for service in starting)
                raise InfrastructureError(
                    f"no answer from {slow} in {START_TIMEOUT_S:.0f} s; "
                    f"see {self._settings.home / 'logs'}"
                )
            time.sleep(POLL_S)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def _start(self, service: Service) -> None:
        if service.name == "ray":
            shutil.rmtree(ray_temp_dir(self._settings), ignore_errors=True)
        self._tries[service.name] += 1
        process = processes.start(
            service.command,
            {**self._settings.process_env(), **service.env},
            log_path(self._settings, service.name),
            self._pidfile.stack_id,
        )
        self._started[service.name] = process
        if not service.once:
            self._pidfile.add(service.name, process)

    def _is_up(self, service: Service) -> bool:
        status = self._started[service.name].poll()
        if service.once and status == 0:
            return True
        if status is not None:
            self._try_again(service, status)
            return False
        if service.once or (service.health_url and not answers(service.health_url)):
            return False
        return service.ready_sign in _log(self._settings, service.name)

    def _try_again(self, service: Service, status: int) -> None:
        if self._tries[service.name] < service.tries:
            self._say(f"{service.name:<12} ended with status {status}, starting it again")
            self._start(service)
            return
        lines = _log(self._settings, service.name).splitlines()[-LAST_LINES:]
        raise InfrastructureError(
            f"{service.name} ended with status {status} while starting; its last lines "
            f"({log_path(self._settings, service.name)}):\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def log_path(settings: Settings, name: str) -> Path:
    """Where the output of service `name` goes."""
    return settings.home / "logs" / f"{name}.log"


def _log(settings: Settings, name: str) -> str:
    return log_path(settings, name).read_text(errors="replace")


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """True when a GET of `url` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
