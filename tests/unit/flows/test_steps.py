from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed, Failed

from flows import steps
from infra.errors import InfrastructureError, InputError


def test_description_of_progress() -> None:
    report = {
        "done": 600,
        "total": 1500,
        "message": "step 600 of 1500",
        "metrics": {"loss": 0.0314},
    }
    assert steps.describe("vae", report) == "vae 40 % · step 600 of 1500 · loss 0.0314"
    assert steps.describe("vae", {"done": 0, "total": 0}) == "vae 0 %"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (InfrastructureError("Ray is gone"), True),
        (InputError("no folder"), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_the_fault_of_the_world_is_tried_again(error: Exception, again: bool) -> None:
    state: Any = Failed(data=error)
    run = TaskRun(task_key="step", dynamic_key="0", flow_run_id=uuid4())
    assert steps.is_retryable(None, run, state) is again


class _Artifacts:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.updates: list[tuple[float, str]] = []
        self.now = 100.0
        patch.setattr(steps, "create_progress_artifact", lambda *_, **__: uuid4())
        patch.setattr(steps, "update_progress_artifact", self._update)
        patch.setattr(steps.time, "monotonic", lambda: self.now)

    def _update(self, _artifact: Any, progress: float, description: str) -> None:
        self.updates.append((progress, description))


def test_progress_reaches_the_server_now_and_then_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = _Artifacts(monkeypatch)
    report = steps.StepReport("vae")
    for step in range(100):
        server.now += 0.1
        report.progress({"done": step, "total": 100})
    report.done()
    assert 3 <= len(server.updates) <= 5
    assert server.updates[-1] == (100.0, "vae: done")


def test_more_than_all_is_shown_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    server = _Artifacts(monkeypatch)
    steps.StepReport("vae").progress({"done": 5, "total": 4})
    assert server.updates[0][0] == 100.0


class _Jobs:
    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def cancel(self, flow_run_id: str) -> list[str]:
        self.cancelled.append(flow_run_id)
        return []


def test_jobs_are_stopped_when_the_flow_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _Jobs()
    monkeypatch.setattr(steps, "job_backend", lambda: jobs)
    with pytest.raises(KeyboardInterrupt), steps.stopping_jobs():
        raise KeyboardInterrupt
    assert len(jobs.cancelled) == 1


def test_failed_step_needs_no_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _Jobs()
    monkeypatch.setattr(steps, "job_backend", lambda: jobs)
    with pytest.raises(InputError), steps.stopping_jobs():
        raise InputError("no folder")
    assert jobs.cancelled == []


def test_completed_state_is_not_retried() -> None:
    state: Any = Completed(data={})
    run = TaskRun(task_key="step", dynamic_key="0", flow_run_id=uuid4())
    assert not steps.is_retryable(None, run, state)
