"""Registers every flow as a deployment on the local work pool: `python -m flows.deployments`.

Run again, it updates what is there. Schedules and parameters that a user changed in the UI stay.
"""

import argparse
import sys
import time
from contextlib import suppress
from typing import Any

from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    State,
    StateType,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron, Schedule
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from flows import automations
from flows.client import DEPLOYMENT
from flows.services import WORK_POOL

API_TIMEOUT_S = 120.0
KEPT = {"schedule", "active", "parameters", "slug"}
NIGHTLY = Cron("0 3 * * *", timezone="UTC", active=False)
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


def flows() -> list[tuple[Flow[Any, Any], Schedule | None]]:
    """Every flow with its schedule; the schedule rests until a user switches it on."""
    from flows.deploy import deploy_model
    from flows.promote import promote_model
    from flows.refresh import refresh_data
    from flows.train import train_model

    return [
        (refresh_data, NIGHTLY),
        (train_model, None),
        (promote_model, None),
        (deploy_model, None),
    ]


def register(client: SyncPrefectClient) -> None:
    """Create the work pool and a deployment of each flow; safe to run again."""
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
    for flow, schedule in flows():
        register_one(client, flow, schedule)
    automations.register(client)


def register_one(
    client: SyncPrefectClient, flow: Flow[Any, Any], schedule: Schedule | None
) -> None:
    """Create or update the deployment of one flow; what a user set in the UI stays."""
    known = _find(client, f"{flow.name}/{DEPLOYMENT}")
    schedules: list[Any] = [schedule] if schedule else []
    if known is not None:
        schedules = [
            DeploymentScheduleCreate(**kept.model_dump(include=KEPT)) for kept in known.schedules
        ]
    deployment = RunnerDeployment.from_flow(
        flow,
        name=DEPLOYMENT,
        work_pool_name=WORK_POOL,
        schedules=schedules,
        parameters=known.parameters if known else None,
        paused=known.paused if known else False,
        concurrency_limit=ONE_AT_A_TIME,
        # Runs execute in a folder of their own, so a file path would not be found.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def settle(client: SyncPrefectClient) -> int:
    """Mark runs whose process went down with the stack as crashed; how many there were.

    Without it they would count as running for ever and hold their deployment's only slot.
    """
    going = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=going))
        )
    )
    for run in runs:
        lost: State[Any] = Crashed(message="the local stack was stopped during this run")
        client.set_flow_run_state(run.id, lost, force=True)
    return len(runs)


def main() -> int:
    """Wait for the API, then register everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settle", action="store_true", help="no flow run can be alive now")
    arguments = parser.parse_args()
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + API_TIMEOUT_S
        while (failure := client.api_healthcheck()) is not None:
            if time.monotonic() > deadline:
                raise failure
            time.sleep(0.25)
        if arguments.settle:
            print(f"{settle(client)} runs were cut off when the stack stopped")
        register(client)
    return 0


if __name__ == "__main__":
    sys.exit(main())
