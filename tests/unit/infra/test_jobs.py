from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra import jobs as jobs_module
from infra.catalog import Catalog
from infra.errors import InfrastructureError, InputError, JobCancelledError, JobError
from infra.job_files import JobContext, read_json, write_json
from infra.jobs import Attempts, InlineJobs, Job
from infra.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    found = Catalog(settings.catalog_url)
    found.migrate()
    yield found
    found.close()


class _Module:
    """Stands in for a job module: `main` runs the acts given, one a call."""

    def __init__(self, *acts: Any) -> None:
        self.acts = list(acts)
        self.contexts: list[JobContext] = []

    def main(self, context: JobContext) -> dict[str, Any]:
        self.contexts.append(context)
        act = self.acts.pop(0)
        if isinstance(act, Exception):
            raise act
        result: dict[str, Any] = act(context)
        return result


@pytest.fixture
def run(settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a job through the inline backend with a stand-in for its module."""

    def run(module: _Module, backend: InlineJobs | None = None, **spec: Any) -> dict[str, Any]:
        importer = SimpleNamespace(import_module=lambda _name: module)
        monkeypatch.setattr(jobs_module, "importlib", importer)
        backend = backend or InlineJobs(settings, catalog)
        return backend.ensure(Job(step="s", module="m", spec=spec, flow_run_id="f"))

    return run


def _done(context: JobContext) -> dict[str, Any]:
    return {"spec": context.spec}


def _checkpoint_then_lose(context: JobContext) -> dict[str, Any]:
    write_json(context.folder / "checkpoint.json", {})
    raise InfrastructureError("the disk went away")


def test_a_result_is_computed_once(run: Any, settings: Settings) -> None:
    module = _Module(_done)
    assert run(module, a=1) == run(module, a=1) == {"spec": {"a": 1}}
    assert read_json(settings.home / "jobs" / "reel-s-f-1" / "result.json") is not None


def test_another_spec_of_the_same_step_is_another_job(run: Any) -> None:
    module = _Module(_done, _done)
    run(module, a=1)
    assert run(module, a=2) == {"spec": {"a": 2}}


def test_a_lost_attempt_resumes_from_the_newest_checkpoint(run: Any, settings: Settings) -> None:
    # The second attempt dies before it has a checkpoint; the third must not start from nothing.
    module = _Module(_checkpoint_then_lose, InfrastructureError("again"), _done)
    first = str(settings.home / "jobs" / "reel-s-f-1")
    assert run(module, a=1) == {"spec": {"a": 1, "resume_from": first}}
    assert [context.folder.name for context in module.contexts] == [
        "reel-s-f-1",
        "reel-s-f-2",
        "reel-s-f-3",
    ]


def test_three_losses_are_enough(run: Any) -> None:
    module = _Module(*[InfrastructureError(f"loss {number}") for number in (1, 2, 3, 4)])
    with pytest.raises(InfrastructureError, match="loss 3"):
        run(module)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (InputError("no such folder"), InputError),
        (JobCancelledError("stopped"), JobCancelledError),
        (ValueError("a bug"), JobError),
    ],
)
def test_what_retrying_cannot_mend_is_raised_at_once(
    run: Any, raised: Exception, kind: type[Exception]
) -> None:
    module = _Module(raised, _done)
    with pytest.raises(kind, match=str(raised)):
        run(module)
    assert len(module.contexts) == 1
    assert run(module)["spec"]["resume_from"].endswith("reel-s-f-1")  # asked again: a new attempt


def test_cancel_asks_the_running_job_to_stop(
    run: Any, settings: Settings, catalog: Catalog
) -> None:
    backend = InlineJobs(settings, catalog)

    def cancelled_meanwhile(context: JobContext) -> dict[str, Any]:
        assert backend.cancel("f") == ["reel-s-f-1"]
        context.raise_if_stopping()
        return {}

    with pytest.raises(JobCancelledError):
        run(_Module(cancelled_meanwhile), backend)
    assert backend.cancel("f") == []


def test_progress_reaches_the_caller(settings: Settings, catalog: Catalog, run: Any) -> None:
    reports: list[dict[str, Any]] = []

    def act(context: JobContext) -> dict[str, Any]:
        context.progress(3, 3, "last", loss=0.25)
        return {}

    run(_Module(act))  # sets the stand-in
    jobs_module.importlib.import_module = lambda _name: _Module(act)  # type: ignore[assignment]
    job = Job(step="other", module="m", spec={}, flow_run_id="f")
    InlineJobs(settings, catalog).ensure(job, on_progress=reports.append)
    assert [report["metrics"] for report in reports] == [{"loss": 0.25}]


def test_errors_of_jobs_come_back_as_their_class(settings: Settings, catalog: Catalog) -> None:
    attempts = Attempts(settings, catalog)
    attempt = attempts.start(Job(step="s", module="m", spec={}, flow_run_id="f"))
    path = attempts.folder(attempt) / "error.json"
    assert attempts.error(attempt) is None
    for recorded, retryable, kind in (
        ("NotFoundError", False, InputError),
        ("InfrastructureError", True, InfrastructureError),
        ("SomethingOfTheModule", False, JobError),
    ):
        write_json(path, {"type": recorded, "message": "why", "retryable": retryable})
        assert isinstance(attempts.error(attempt), kind)


def test_a_status_set_elsewhere_is_not_overwritten(settings: Settings, catalog: Catalog) -> None:
    attempts = Attempts(settings, catalog)
    attempt = attempts.start(Job(step="s", module="m", spec={}, flow_run_id="f"))
    assert attempts.set_status(attempt, "stopped", only_from=("pending",))
    assert not attempts.set_status(attempt, "running", only_from=("pending",))
    assert attempts.status(attempt) == "stopped"
    assert attempts.open_of("f") == []
