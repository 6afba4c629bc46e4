"""Serve a registered model version: `python -m serving.job --spec spec.json`.

spec {"version": "3"} → result {"version", "healthy", "url"}. The version is loaded beside the one
that runs, which serves on when the new one is not healthy, and then the job fails. Where nothing
runs, the application is started. `HOME/serve.json` (`serving.served`) remembers what is served.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray import serve

from infra.errors import InfrastructureError, InputError, JobError, ReelError
from infra.job_files import JobContext, read_json, run_job
from infra.ray_jobs import connect
from infra.settings import Settings
from infra.tracking import Tracking
from modeling.bundle import load_bundle
from modeling.generate import Generator
from modeling.vae import GROUP
from serving.app import APP, ENGINE, application, start_serve
from serving.canary import check_canary
from serving.origin import record_training
from serving.served import SERVED, remember
from serving.service import ModelInfo

HEALTHY_WITHIN_S = 300.0
POLL_S = 0.25
SHORT_SIDE = 384


def main(context: JobContext) -> dict[str, Any]:
    """Raises InputError for a version that does not exist or is damaged; nothing changed then."""
    settings = Settings()
    version = str(context.spec["version"])
    context.progress(0, 3, f"fetching version {version}")
    bundle = fetch(settings, version)
    record_training(settings, version)
    info = describe(bundle, version)
    context.progress(1, 3, f"starting version {version}")
    connect(settings)
    start_serve()
    deploy(settings, info, bundle)
    context.progress(3, 3, f"version {version} is healthy")
    return {"version": version, "healthy": True, "url": settings.serve_url}


def fetch(settings: Settings, version: str) -> Path:
    """The folder of a version's bundle, downloaded once.

    Raises:
        NotFoundError: no such version in the registry.
    """
    if not version.isdecimal():
        raise InputError(f"{version!r} is not a model version; give its number, such as 3")
    return Tracking(settings.mlflow_url).download(version, settings.home / "models" / version)


def describe(bundle: Path, version: str) -> ModelInfo:
    """What the API says of the model; the delivered default is its own landscape size, enlarged.

    Raises:
        InputError: the bundle's files are not what its manifest says, or its canary fails.
    """
    generator = Generator(load_bundle(bundle))
    height, width = generator.native_size(4, 3)
    check_canary(generator, version)
    scale = max(1, round(SHORT_SIDE / height))
    groups = 1 + (generator.data.num_frames - 1) // GROUP
    return ModelInfo(
        version=version,
        size=(width * scale, height * scale),
        fps=generator.fps,
        steps=generator.bundle.recipe.dit.sampler.steps,
        loop_frames=GROUP * groups,
        created=int((bundle / "manifest.json").stat().st_mtime),
    )


def deploy(settings: Settings, info: ModelInfo, bundle: Path) -> None:
    """Serve `bundle`: beside what runs until it is ready or, where nothing does, from the start.

    Raises:
        JobError: it did not become healthy; the message says why and what is served now.
    """
    before = read_json(settings.home / SERVED) or {}
    app = str(before.get("app", ""))
    try:
        if app and (
            is_healthy(settings, str(before["version"])) or is_healthy(settings, info.version)
        ):
            _swap(settings, info, bundle)
        elif not is_healthy(settings, info.version):
            app = uuid4().hex
            _run(settings, info, bundle, app)
    except (InfrastructureError, RuntimeError) as error:
        restored = _restore(settings, info.version)
        raise JobError(
            f"version {info.version} did not become healthy: {error}; {restored}"
        ) from error
    remember(settings.home, app, info, bundle)


def _swap(settings: Settings, info: ModelInfo, bundle: Path) -> None:
    """Have every running engine serve `bundle`; jobs under way end on what served before.

    Raises:
        InfrastructureError: it does not work; what was served before is.
    """
    try:
        _swap_all(info.version, bundle)
        serve.get_app_handle(APP).adopt.remote(info).result(timeout_s=HEALTHY_WITHIN_S)
    except Exception as error:  # whatever the replica raised, and Ray's own
        before = read_json(settings.home / SERVED)
        if before is not None:  # an engine may have swapped where another could not
            with suppress(Exception):  # the first failure is the news
                _swap_all(before["version"], Path(before["bundle"]))
        raise InfrastructureError(str(getattr(error, "cause", error))) from error


def _swap_all(version: str, bundle: Path) -> None:
    engines = serve.get_deployment_handle(ENGINE, APP)
    # A broadcast does not wait until a new handle knows the replicas; a call does.
    engines.health.remote().result(timeout_s=HEALTHY_WITHIN_S)
    engines.broadcast("swap", version, bundle).results(timeout_s=HEALTHY_WITHIN_S)


def is_healthy(settings: Settings, version: str) -> bool:
    """True when the server answers that it serves `version`."""
    try:
        with urllib.request.urlopen(f"{settings.serve_url}/healthz", timeout=10) as reply:
            return bool(json.load(reply)["version"] == version)
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return False


def _run(settings: Settings, info: ModelInfo, bundle: Path, app: str) -> None:
    bound = application(settings, info, bundle, app)
    target = serve.RunTarget(target=bound, name=APP, route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False)
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < deadline:
        state = serve.status().applications[APP]
        if state.status == "DEPLOY_FAILED":
            raise InfrastructureError(state.message.strip())
        if state.status == "RUNNING" and is_healthy(settings, info.version):
            return
        time.sleep(POLL_S)
    raise InfrastructureError(f"no answer from {settings.serve_url} in {HEALTHY_WITHIN_S:.0f} s")


def _restore(settings: Settings, failed: str) -> str:
    """Serve the remembered version again; returns a clause that says what is served now."""
    before = read_json(settings.home / SERVED)
    if before is None or before["version"] == failed:
        serve.delete(APP, _blocking=False)
        return "nothing is served now"
    version, bundle = before["version"], Path(before["bundle"])
    if is_healthy(settings, version):
        return f"version {version} is served on"
    app = uuid4().hex
    try:
        info = describe(bundle, version)
        _run(settings, info, bundle, app)
    except (ReelError, RuntimeError) as error:
        # The first failure is the news; this one must not hide it.
        return f"version {version}, served before, did not come back either: {error}"
    remember(settings.home, app, info, bundle)
    return f"version {version} is served again"


if __name__ == "__main__":
    sys.exit(run_job(main))
