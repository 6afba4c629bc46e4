"""Run a deployment through the Prefect server and follow it from a terminal.

    result = run_and_follow("refresh-data", {"uri": "/films"})

A run whose process died is set to run again under the same id: its steps then attach to the
Ray jobs that still run, so nothing that was done is done twice.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, Log, State, StateType
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import AwaitingRetry, Cancelling

from infra.errors import (
    InfrastructureError,
    InputError,
    JobCancelledError,
    JobError,
    NotFoundError,
)
from infra.jobs import pause_s

DEPLOYMENT = "local"
MAX_CRASHES = 2
POLL_S = 1.0
LAST_LOGS_S = 5.0
CRASH_SETTLE_S = 3.0
CANCEL_TIMEOUT_S = 90.0
EXCEPTION = re.compile(r"^Flow run encountered an exception: (?:\w+: )?")

Say = Callable[[str], None]


def run_and_follow(flow_name: str, parameters: dict[str, Any], say: Say = print) -> dict[str, Any]:
    """Run `flow_name` on the local work pool, pass its log on to `say`, and return its result.

    Ctrl-C cancels the run, which stops its Ray job.

    Raises:
        InputError: the flow has no such parameter, or not with this value.
        JobError: the run failed; the message is the flow's own reason.
        JobCancelledError: somebody cancelled it.
        InfrastructureError: no Prefect server answers, or the run's process died repeatedly.
    """
    with get_client(sync_client=True) as client:
        try:
            run = _create(client, flow_name, parameters)
            try:
                return _Follower(client, run.id, say).follow()
            except KeyboardInterrupt:
                say("stopping…")
                _cancel(client, run.id)
                raise
        except httpx.TransportError:
            raise InfrastructureError(
                f"no Prefect server answers at {client.api_url}; start it with: reel up"
            ) from None


def _create(client: SyncPrefectClient, flow_name: str, parameters: dict[str, Any]) -> FlowRun:
    try:
        deployment = client.read_deployment_by_name(f"{flow_name}/{DEPLOYMENT}")
    except ObjectNotFound:
        raise NotFoundError(
            f"the Prefect server at {client.api_url} has no deployment {flow_name}/{DEPLOYMENT}; "
            "register it with: reel up"
        ) from None
    try:
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except PrefectHTTPStatusError as error:
        detail = error.response.json().get("detail", error)
        raise InputError(f"{flow_name} does not take these parameters: {detail}") from None


class _Follower:
    def __init__(self, client: SyncPrefectClient, run_id: UUID, say: Say) -> None:
        self.client = client
        self.run_id = run_id
        self.say = say
        self.crashes = 0
        self.logs_seen = 0
        self.logs_ended = False

    def follow(self) -> dict[str, Any]:
        begun = time.monotonic()
        while True:
            run = self.client.read_flow_run(self.run_id)
            self._pass_logs_on()
            state = run.state
            if state is not None and state.type == StateType.CRASHED:
                self._run_again(run)
            elif state is not None and state.is_final():
                self._wait_for_last_logs()
                return _result(run)
            time.sleep(pause_s(begun))

    def _wait_for_last_logs(self) -> None:
        """Log lines come in batches, the last of them after the run has ended."""
        deadline = time.monotonic() + LAST_LOGS_S
        while not self.logs_ended and time.monotonic() < deadline:
            time.sleep(POLL_S / 4)
            self._pass_logs_on()

    def _run_again(self, run: FlowRun) -> None:
        self.crashes += 1
        reason = run.state.message if run.state else ""
        if self.crashes > MAX_CRASHES:
            raise InfrastructureError(
                f"the process of run {run.name!r} died {self.crashes} times ({reason}); "
                f"look at HOME/logs/worker.log"
            )
        self.say(f"the run's process died ({reason}); running it again, {run.id} as before")
        # The worker reports the same death a moment after the runner; that must not hit the retry.
        time.sleep(CRASH_SETTLE_S)
        retry: State[Any] = AwaitingRetry(scheduled_time=datetime.now(UTC))
        self.client.set_flow_run_state(self.run_id, retry, force=True)

    def _pass_logs_on(self) -> None:
        logs: list[Log] = self.client.read_logs(
            LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self.run_id])),
            offset=self.logs_seen,
            sort=LogSort.TIMESTAMP_ASC,
        )
        self.logs_seen += len(logs)
        for line in logs:
            if line.name == "reel":
                self.say(line.message)
            # Tasks say the same of themselves.
            is_run = line.name == "prefect.flow_runs"
            self.logs_ended = is_run and line.message.startswith("Finished in state")


def _result(run: FlowRun) -> dict[str, Any]:
    state = run.state
    assert state is not None
    if state.type == StateType.CANCELLED:
        raise JobCancelledError(f"run {run.name!r} was cancelled")
    if not state.is_completed():
        raise JobError(
            EXCEPTION.sub("", state.message or f"run {run.name!r} ended as {state.name}")
        )
    result: dict[str, Any] = state.result()
    return result


def _cancel(client: SyncPrefectClient, run_id: UUID) -> None:
    """Ask for cancellation and wait until the run, and with it its Ray job, has ended."""
    client.set_flow_run_state(run_id, Cancelling())
    deadline = time.monotonic() + CANCEL_TIMEOUT_S
    while time.monotonic() < deadline:
        state = client.read_flow_run(run_id).state
        if state is not None and state.is_final():
            return
        time.sleep(POLL_S)
