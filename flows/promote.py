"""`promote-model`: the gate, then the alias `champion`. `rollback` takes the last step back."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from flows import artifacts
from flows.gate import Check, GateRecipe, Measured, judge, require
from flows.steps import log
from infra.errors import NotFoundError
from infra.settings import Settings
from infra.tracking import ModelVersion, Tracking

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"


@flow(
    name="promote-model",
    flow_run_name="promote {version}",
    description="Let a model version through the gate and make it the champion.",
    persist_result=True,
    result_serializer="json",
)
def promote_model(version: str = CANDIDATE) -> State[dict[str, Any]]:
    """Make `version` the champion if it passes the gate; the old champion becomes `previous`.

    Args:
        version: A version's number, or an alias such as candidate.

    Returns:
        {"version", "previous", "promoted"}
    Raises:
        GateError: it did not pass; the message names each number.
    """
    tracking = Tracking(Settings().mlflow_url)
    candidate, champion = find_version(tracking, version), tracking.alias(CHAMPION)
    if champion is not None and champion.version == candidate.version:
        message = f"version {candidate.version} is the champion already"
        return Completed(message=message, data=_result(candidate, None, promoted=False))
    checks = judge(_measured(candidate), _measured(champion) if champion else None, GateRecipe())
    artifacts.publish(
        "gate", gate_page(candidate, champion, checks), f"version {candidate.version}"
    )
    require(checks)
    if champion is not None:
        tracking.set_alias(PREVIOUS, champion.version)
    tracking.set_alias(CHAMPION, candidate.version)
    message = f"version {candidate.version} is the champion now"
    log.info("%s", message)
    emit_event(
        "reel.model.promoted",
        resource={"prefect.resource.id": f"reel.model.{candidate.version}"},
        payload={"version": candidate.version, "previous": champion.version if champion else ""},
    )
    return Completed(message=message, data=_result(candidate, champion, promoted=True))


def find_version(tracking: Tracking, name: str) -> ModelVersion:
    """The model version with this number or alias.

    Raises:
        NotFoundError: neither exists.
    """
    if name.isdigit():
        return tracking.version(name)
    found = tracking.alias(name)
    if found is None:
        raise NotFoundError(
            f"no model version has the alias {name!r}; train one first (reel train), "
            f"or name a version by its number"
        )
    return found


def rollback(settings: Settings) -> tuple[str, str]:
    """Make `previous` the champion again; returns (new champion, old champion).

    Raises:
        NotFoundError: there is no previous champion.
    """
    tracking = Tracking(settings.mlflow_url)
    previous, champion = tracking.alias(PREVIOUS), tracking.alias(CHAMPION)
    if previous is None or champion is None:
        raise NotFoundError("there is no earlier champion to go back to")
    tracking.set_alias(CHAMPION, previous.version)
    tracking.set_alias(PREVIOUS, champion.version)
    return previous.version, champion.version


def gate_page(candidate: ModelVersion, champion: ModelVersion | None, checks: list[Check]) -> str:
    """Each number beside its bound, the champion's, and the verdict."""
    rows = [
        (
            check.metric,
            "missing" if check.value is None else check.value,
            check.bound,
            "" if check.champion is None else check.champion,
            "**failed**" if check.failure else "passed",
            check.failure or check.note,
        )
        for check in checks
    ]
    against = f"against the champion, version {champion.version}" if champion else "no champion yet"
    header = ["number", "value", "has to be", "champion", "verdict", "note"]
    return f"# Version {candidate.version}, {against}\n\n{artifacts.table(header, rows)}"


def _measured(version: ModelVersion) -> Measured:
    return Measured(version=version.version, metrics=version.metrics, tags=version.tags)


def _result(new: ModelVersion, old: ModelVersion | None, *, promoted: bool) -> dict[str, Any]:
    return {
        "version": new.version,
        "previous": old.version if old else "",
        "promoted": promoted,
    }
