"""One home, one Prefect server, one Ray head for all tests that ask, stopped by pid at the end.

A fixture for another service takes `start_service` and names one of `flows.services.services`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows import processes, stack
from flows.services import services
from flows.startup import Pidfile, Startup
from infra.catalog import Catalog
from infra.settings import Settings

ROOT = Path(__file__).parents[1]
CAPTION_KEY = "the key of no server"


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """A command sets what its children read, for good; the next test is no child of it."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home of its own, on free ports; the environment says the same."""
    host = "127.0.0.1"
    names = ("prefect_port", "mlflow_port", "ray_port", "ray_dashboard_port", "serve_port")
    ports = {name: processes.free_port(host) for name in names}
    home = tmp_path_factory.mktemp("home")
    found = Settings(home=home, host=host, num_cpus=2, job_silence_s=300, **ports)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.process_env().items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("REEL_CAPTION_KEY", CAPTION_KEY)
        yield found


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home of this test's own, whatever the session's services were told."""
    for name in [name for name in os.environ if name.startswith("REEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REEL_HOME", str(tmp_path / "home"))
    return Settings()


@pytest.fixture(scope="session")
def start_service(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Starts a service of the local stack by name and waits for it; all end with the session."""
    started: list[psutil.Popen] = []

    def start(name: str) -> None:
        service = next(entry for entry in services(settings) if entry.name == name)
        started.extend(Startup(settings, Pidfile.load(settings), print).run([service]).values())

    yield start
    stack.down(settings)
    for process in started:
        process.poll()  # so that Python knows, too, that it has ended


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
