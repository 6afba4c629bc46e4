"""What the local stack consists of: each `Service` with its command, ports and health check."""

import sys
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from flows.processes import free_port
from infra.settings import Settings

WORK_POOL = "local"
OBJECT_STORE_BYTES = 512 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Service:
    """A background process of the stack.

    `ports` maps the environment variable that moves a port to the port. A service without a
    `health_url` counts as healthy while it runs; one that runs `once` when it has ended well.
    `needs` has to be healthy before it starts. With a `ready_sign`, its log has to show that too.
    """

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    url: str = ""
    health_url: str = ""
    ready_sign: str = ""
    needs: str = ""
    once: bool = False
    tries: int = 1


def services(settings: Settings) -> list[Service]:
    """The stack's services, in the order in which a person reads them."""
    return [_prefect(settings), _worker(settings), _mlflow(settings), _ray(settings)]


def deployments(*, settle: bool) -> Service:
    """Registers our flows; started at once, since it waits for the Prefect API by itself.

    With `settle`, runs that went down with the last stack are marked as crashed first.
    """
    command = [*_module("flows.deployments"), *(["--settle"] if settle else [])]
    return Service(name="deployments", command=command, once=True)


def _prefect(settings: Settings) -> Service:
    root = settings.prefect_api_url.removesuffix("/api")
    return Service(
        name="prefect",
        command=[*_module("prefect"), "server", "start"],
        env={
            # The UI calls this address; `--port` alone would leave it at 4200.
            "PREFECT_SERVER_API_HOST": settings.host,
            "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
            "PREFECT_UI_API_URL": settings.prefect_api_url,
            # The second UI loads its analytics' configuration from outside even with them off.
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            # Concurrency slots held in memory would be lost, and so never freed, by a restart.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
        },
        ports={"REEL_PREFECT_PORT": settings.prefect_port},
        url=root,
        health_url=f"{settings.prefect_api_url}/health",
    )


def _worker(settings: Settings) -> Service:
    pool = ["--pool", WORK_POOL, "--type", "process", "--name", "reel"]
    return Service(
        name="worker",
        command=[*_module("prefect"), "worker", "start", *pool],
        env={
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            # What our own loggers say belongs on the page of the run.
            "PREFECT_LOGGING_EXTRA_LOGGERS": "reel",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        },
        url=f"{settings.prefect_api_url.removesuffix('/api')}/work-pools/work-pool/{WORK_POOL}",
        needs="deployments",
    )


def _mlflow(settings: Settings) -> Service:
    return Service(
        name="mlflow",
        command=[
            *_module("mlflow"),
            "server",
            f"--host={settings.host}",
            f"--port={settings.mlflow_port}",
            f"--backend-store-uri={settings.mlflow_store}",
            f"--artifacts-destination={settings.home / 'mlartifacts'}",
            "--workers=1",
        ],
        ports={"REEL_MLFLOW_PORT": settings.mlflow_port},
        url=settings.mlflow_url,
        health_url=f"{settings.mlflow_url}/health",
        # Not for its sake: on few cores, three servers that start at once all start late.
        needs="prefect",
    )


def ray_temp_dir(settings: Settings) -> Path:
    """Ray's session folder: short, because socket paths inside it must stay under 108 bytes."""
    return (
        Path(tempfile.gettempdir()) / f"reel-{sha256(str(settings.home).encode()).hexdigest()[:8]}"
    )


def _ray(settings: Settings) -> Service:
    return Service(
        name="ray",
        command=[
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            f"--node-ip-address={settings.host}",
            f"--port={settings.ray_port}",
            f"--dashboard-host={settings.host}",
            f"--dashboard-port={settings.ray_dashboard_port}",
            "--dashboard-agent-listen-port=0",
            f"--ray-client-server-port={free_port(settings.host)}",
            f"--num-cpus={settings.cpu_count}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={ray_temp_dir(settings)}",
            "--disable-usage-stats",
            "--include-log-monitor=false",  # a job's own log is read; nobody else listens
        ],
        # Ray turns a loopback address into the machine's public one, and would listen there
        # without a password. This switch, meant for desktops, keeps everything on loopback.
        env={
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Parts of Ray that look for "the" cluster must not find somebody else's.
            "RAY_ADDRESS": settings.ray_address,
            # How often the dashboard's agent measures every process; training feels it.
            "REPORTER_UPDATE_INTERVAL_MS": "15000",
        },
        ports={
            "REEL_RAY_PORT": settings.ray_port,
            "REEL_RAY_DASHBOARD_PORT": settings.ray_dashboard_port,
        },
        url=settings.ray_url,
        health_url=f"{settings.ray_url}/api/version",
        # The dashboard answers before there is a node to run jobs on.
        ready_sign="Ray runtime started",
        # Ray gives its agents a fixed 15 s (ray-project/ray#65983). When the machine was too busy
        # for that, a second try finds their files in the disk cache.
        tries=3,
    )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
