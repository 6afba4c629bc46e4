"""One home, one Ray head for all integration tests, started by pid and stopped by it.

A fixture for another service takes `start_service` and names one of `flows.services.services`.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows import processes
from flows.services import services
from flows.stack import answers
from infra.catalog import Catalog
from infra.settings import Settings

STARTUP_S = 240.0  # a busy machine with two cores
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home of its own, on free ports; the environment says the same."""
    host = "127.0.0.1"
    names = ("prefect_port", "mlflow_port", "ray_port", "ray_dashboard_port", "serve_port")
    ports = {name: processes.free_port(host) for name in names}
    home = tmp_path_factory.mktemp("home")
    found = Settings(home=home, host=host, num_cpus=2, job_silence_s=60, **ports)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.process_env().items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="session")
def start_service(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Starts a service of the local stack by name and waits for it; all end with the session."""
    stack_id = f"tests-{os.getpid()}"
    started: list[psutil.Popen] = []

    def start(name: str) -> None:
        deadline = time.monotonic() + STARTUP_S
        log = settings.home / "logs" / f"{name}.log"
        while True:
            service = next(entry for entry in services(settings) if entry.name == name)
            environment = {**settings.process_env(), **service.env, "PYTHONPATH": str(ROOT)}
            process = processes.start(service.command, environment, log, stack_id)
            started.append(process)
            # Ray's dashboard answers before there is a node to run jobs on.
            sign = "Ray runtime started" if name == "ray" else ""
            if _is_up(service.health_url, log, sign, process, deadline):
                return
            if time.monotonic() > deadline or name != "ray":
                pytest.fail(f"{name} did not come up:\n{log.read_text()[-3000:]}")
            # Ray gives its agents a fixed 15 s to start (ray-project/ray#65983); when the machine
            # was too busy for that, a second try finds their files in the cache.

    yield start
    processes.stop(started)
    processes.stop(processes.marked(stack_id))
    for process in started:
        process.poll()  # so that Python knows, too, that it has ended


def _is_up(url: str, log: Path, sign: str, process: psutil.Popen, deadline: float) -> bool:
    """True once `url` answers and the log shows `sign`; False when it ended or time is over."""
    while url and not (answers(url) and sign in log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.fixture(scope="session")
def ray_head(settings: Settings, start_service: Callable[[str], None]) -> Settings:
    """A running Ray head; jobs are submitted to `settings.ray_url`."""
    start_service("ray")
    return settings


@pytest.fixture(scope="session")
def catalog(settings: Settings) -> Iterator[Catalog]:
    """The migrated catalog of the session's home."""
    found = Catalog(settings.catalog_url)
    found.migrate()
    yield found
    found.close()


@pytest.fixture(scope="session")
def prefect_server(settings: Settings, start_service: Callable[[str], None]) -> Iterator[Settings]:
    """A running Prefect server, which this process talks to as well."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    start_service("prefect")
    # Prefect reads the environment when it is imported, which may have been before this.
    own = {PREFECT_API_URL: settings.prefect_api_url, PREFECT_HOME: settings.home / "prefect"}
    with temporary_settings(own):
        yield settings


@pytest.fixture(scope="session")
def worker(
    prefect_server: Settings, catalog: Catalog, start_service: Callable[[str], None]
) -> Settings:
    """A process worker that runs our deployments and the probe flow's."""
    from prefect import get_client

    from flows import deployments
    from tests.probe_flow import probe

    with get_client(sync_client=True) as client:
        deployments.register(client)
        deployments.register_one(client, probe, None)
    start_service("worker")
    return prefect_server
