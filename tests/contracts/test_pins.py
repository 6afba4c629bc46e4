"""The pins that newer releases break in silence; the reasons are in pyproject.toml's lock.

fastapi ≥ 0.151 turns JSON null into 422 in Prefect's worker and automation routes, ≥ 0.155 breaks
the server's import; with sqlalchemy 2.1 the server runs but never schedules anything.
"""

import subprocess
import sys
import time
from importlib.metadata import version

from prefect import flow, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.deployments.runner import RunnerDeployment
from prefect.events import emit_event
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from infra.settings import Settings

SCHEDULED_WITHIN_S = 90.0


def _release(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version(name).split(".")[:2])


def test_fastapi_and_sqlalchemy_are_the_ones_that_prefect_works_with() -> None:
    assert (0, 139) <= _release("fastapi") < (0, 151)
    assert (2, 0) <= _release("sqlalchemy") < (2, 1)


@flow(name="every-minute")
def every_minute() -> None:
    """Never runs here: no worker takes it."""


def test_cron_deployment_yields_scheduled_runs(prefect_server: Settings) -> None:
    deployment = RunnerDeployment.from_flow(
        every_minute,
        name="pins",
        schedule=Cron("* * * * *", timezone="UTC"),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    identity = deployment.apply()
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[identity]))
    deadline = time.monotonic() + SCHEDULED_WITHIN_S
    with get_client(sync_client=True) as client:
        while not (runs := client.read_flow_runs(deployment_filter=wanted)):
            assert time.monotonic() < deadline, "the scheduler made no runs; see prefect.log"
            time.sleep(0.5)
        client.delete_deployment(identity)
    assert all(run.state is not None and run.state.is_scheduled() for run in runs)


def test_automations_can_be_listed(prefect_server: Settings) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "automation", "ls"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_schedule_rests_until_a_user_wakes_it_and_then_stays_awake(
    prefect_server: Settings,
) -> None:
    from flows import deployments

    with get_client(sync_client=True) as client:
        deployments.register(client)
        refresh = client.read_deployment_by_name("refresh-data/local")
        (schedule,) = refresh.schedules
        assert not schedule.active
        assert schedule.schedule.cron == "0 3 * * *"
        client.update_deployment_schedule(refresh.id, schedule.id, active=True)
        deployments.register(client)  # as every `reel up` does
        (schedule,) = client.read_deployment_by_name("refresh-data/local").schedules
        assert schedule.active
        client.update_deployment_schedule(refresh.id, schedule.id, active=False)


def test_a_large_release_starts_training_once_a_user_has_switched_it_on(
    prefect_server: Settings,
) -> None:
    from flows import automations, deployments

    with get_client(sync_client=True) as client:
        deployments.register(client)
        (automation,) = client.read_automations_by_name(automations.TRAIN)
        assert not automation.enabled
        train = client.read_deployment_by_name("train-model/local")
        client.request("PATCH", f"/automations/{automation.id}", json={"enabled": True})
        deployments.register(client)  # as every `reel up` does
        (automation,) = client.read_automations_by_name(automations.TRAIN)
        assert automation.enabled
        _release_event("small", "not-much-new")
        _release_event("large", "much-new")
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[train.id]))
        deadline = time.monotonic() + SCHEDULED_WITHIN_S
        while not (runs := client.read_flow_runs(deployment_filter=wanted)):
            assert time.monotonic() < deadline, "no training run came; see prefect.log"
            time.sleep(0.5)
        client.request("PATCH", f"/automations/{automation.id}", json={"enabled": False})
        for run in runs:
            client.delete_flow_run(run.id)
    assert [run.parameters["release"] for run in runs] == ["much-new"]


def _release_event(change: str, release: str) -> None:
    emit_event(
        "reel.release.created",
        resource={"prefect.resource.id": f"reel.release.{release}", "reel.release.change": change},
        payload={"release": release},
    )


def test_forms_say_what_to_enter(prefect_server: Settings) -> None:
    from flows import deployments

    with get_client(sync_client=True) as client:
        deployments.register(client)
        forms = {
            name: client.read_deployment_by_name(f"{name}/local").parameter_openapi_schema
            for name in ("refresh-data", "train-model", "promote-model", "deploy-model")
        }
    for name, form in forms.items():
        for field, schema in form["properties"].items():
            assert schema.get("description"), f"{name}: {field}"
    recipes = forms["train-model"]["definitions"]["RecipeName"]["enum"]
    assert recipes == ["tiny", "small", "base", "large"]
