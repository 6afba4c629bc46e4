"""The local stack: start it, look at it, stop it. Touches only processes that it started."""

import shutil
from dataclasses import dataclass

from flows import processes
from flows.services import Service, deployments, ray_temp_dir, services
from flows.startup import Pidfile, Say, Startup, answers
from infra.errors import InputError, JobError
from infra.settings import Settings

CHAMPION_PATH = "/api/2.0/mlflow/registered-models/alias?name=reel-generator&alias=champion"


@dataclass(frozen=True)
class Row:
    """One line of `reel status`."""

    name: str
    state: str  # "running" | "not answering" | "stopped" | "idle" (serving without a champion)
    pid: int | None
    url: str


def up(settings: Settings, say: Say = print) -> None:
    """Start what is not running yet, wait until everything answers, and serve the champion.

    Raises:
        InputError: a port belongs to another program; nothing was started.
        InfrastructureError: a service ended or stayed silent; all started here were stopped.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    pidfile = Pidfile.load(settings)
    missing = [service for service in services(settings) if not pidfile.process(service.name)]
    names = [service.name for service in missing]
    if missing:
        _check_ports(settings, missing)
        Startup(settings, pidfile, say).run([*missing, deployments(settle="worker" in names)])
    else:
        say("everything is running already")
    serve_champion(settings, say)


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


def serve_champion(settings: Settings, say: Say) -> None:
    """Deploy the champion, unless there is none or something is served already."""
    if _is_served(settings) or not answers(settings.mlflow_url + CHAMPION_PATH):
        return
    from flows.client import run_and_follow

    try:
        run_and_follow("deploy-model", {}, say)
    except JobError as error:
        say(f"everything runs, but the champion is not served: {error}")


def _is_served(settings: Settings) -> bool:
    return answers(f"{settings.serve_url}/healthz")


def status(settings: Settings) -> list[Row]:
    """The state of every service, serving last."""
    pidfile = Pidfile.load(settings)
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
    pidfile = Pidfile.load(settings)
    if not pidfile.entries:
        return []
    running = {name: process for name in pidfile.entries if (process := pidfile.process(name))}
    processes.stop(list(running.values()))
    # Flow runs and job drivers whose parents had died before.
    processes.stop(processes.marked(pidfile.stack_id))
    pidfile.path.unlink(missing_ok=True)  # another `down` may be faster
    shutil.rmtree(ray_temp_dir(settings), ignore_errors=True)
    return list(running)
