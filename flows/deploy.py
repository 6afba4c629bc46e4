"""`deploy-model`: Ray Serve serves the champion and is healthy, or the old model stays."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from flows import artifacts
from flows.promote import CHAMPION, find_version
from flows.steps import log, run_step, stop_jobs, stopping_jobs
from infra.settings import Settings
from infra.tracking import Tracking


@flow(
    name="deploy-model",
    flow_run_name="deploy {version}",
    description="Serve a model version, the champion unless told otherwise.",
    on_cancellation=[stop_jobs],
    persist_result=True,
    result_serializer="json",
)
def deploy_model(version: str = CHAMPION) -> State[dict[str, Any]]:
    """Put `version` behind the endpoint.

    Args:
        version: A version's number, or an alias such as champion.

    Returns:
        {"version", "healthy", "url"}
    Raises:
        NotFoundError: no such version, or there is no champion yet.
        JobError: it did not become healthy; what served before serves on.
    """
    settings = Settings()
    found = find_version(Tracking(settings.mlflow_url), version)
    with stopping_jobs():
        result = run_step("deploy", "serving.job", {"version": found.version})
    artifacts.publish("endpoint", endpoint_page(settings, result), f"version {found.version}")
    message = f"version {result['version']} answers at {result['url']}"
    log.info("%s", message)
    emit_event(
        "reel.model.deployed",
        resource={"prefect.resource.id": f"reel.model.{found.version}"},
        payload={"version": found.version, "url": result["url"]},
    )
    return Completed(message=message, data=result)


def endpoint_page(settings: Settings, result: dict[str, Any]) -> str:
    """Where the model answers, and how to ask it."""
    url = result["url"]
    model = f"{settings.mlflow_url}/#/models/reel-generator/versions/{result['version']}"
    rows = [
        ("videos", f"[{url}/v1/videos]({url}/v1/videos)"),
        ("health", f"[{url}/healthz]({url}/healthz)"),
        ("model", f"[reel-generator, version {result['version']}]({model})"),
        ("replicas", f"[Ray]({settings.ray_url}/#/serve)"),
    ]
    ask = f"curl {url}/v1/videos -F prompt='a red circle moves left' -F seconds=1"
    return f"# Serving\n\n{artifacts.table(['what', 'where'], rows)}\n\n```\n{ask}\n```"
