"""A flow for tests: one step, whose job is `probe_job`."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.steps import log, run_step, stop_jobs, stopping_jobs


@flow(name="probe", on_cancellation=[stop_jobs], persist_result=True, result_serializer="json")
def probe(spec: dict[str, Any]) -> State[dict[str, Any]]:
    """Run the probe job on `spec`."""
    with stopping_jobs():
        result = run_step("probe", "tests.probe_job", spec)
    log.info("counted to %s", result["count"])
    return Completed(message="counted", data=result)
