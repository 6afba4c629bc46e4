"""One trace leads from a request to the end of its job, and logs name it."""

import json
import logging
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infra.errors import InputError
from infra.settings import Settings
from serving.jobs import JobStore
from serving.tracing import TRACES, TraceIds, Tracing, trace_id, working
from tests.unit.serving.calls import create
from tests.unit.serving.conftest import running
from tests.unit.serving.test_job_store import add

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


def test_a_trace_goes_from_the_callers_request_to_the_end_of_the_job(catalog, tmp_path) -> None:
    with running(catalog, tmp_path, traces="file") as world:
        body = {"prompt": "a secret wedding", "seconds": 1}
        video = world.client.post("/v1/videos", json=body, headers=CALLER).json()
        world.finish(video["id"])
    assert video["x_trace_id"] == TRACE
    lines = (tmp_path / "logs" / TRACES).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    spans = {span["name"]: span for span in found if TRACE in span["context"]["trace_id"]}
    request, job = spans["POST /v1/videos"], spans["job video"]
    assert request["parent_id"].endswith(SPAN)
    assert request["attributes"]["http.response.status_code"] == 200
    assert job["parent_id"] == request["context"]["span_id"]
    assert job["attributes"]["reel.job.outcome"] == "completed"
    assert job["attributes"]["reel.job.id"] == video["id"]
    assert job["attributes"]["reel.model.version"] == "3"
    for name in ("queue", "sample", "encode"):
        assert spans[name]["parent_id"] == job["context"]["span_id"]
        assert job["start_time"] <= spans[name]["start_time"] <= spans[name]["end_time"]
    assert "wedding" not in json.dumps(list(spans.values()))


def test_every_job_has_a_trace_of_its_own(world) -> None:
    first, second = create(world, seconds=1), create(world, seconds=1)
    ids = {video["x_trace_id"] for video in (first, second)}
    assert len(ids) == 2 and all(len(found) == 32 for found in ids)
    for video in (first, second):
        world.finish(video["id"])
    remix = world.client.post(f"/v1/videos/{first['id']}/remix", json={"prompt": "b"}).json()
    assert remix["x_trace_id"] not in ids


def test_failed_and_cancelled_jobs_end_their_trace(store: JobStore, catalog) -> None:
    kept = InMemorySpanExporter()
    traces = Tracing(exporter=kept)
    store = JobStore(catalog, store.media_dir, 60, tracing=traces)
    jobs = [add(store) for _ in range(3)]
    store.fail(store.claim("me"), "generation_failed", "No.")
    store.release(store.claim("me"))
    store.cancel(jobs[2].id)
    traces.close()
    outcomes = {
        span.attributes["reel.job.id"]: (span.attributes["reel.job.outcome"], span.status.is_ok)
        for span in kept.get_finished_spans()
        if span.name == "job video"
    }
    assert outcomes == {
        jobs[0].id: ("generation_failed", False),
        jobs[1].id: ("released", True),
        jobs[2].id: ("cancelled", False),
    }


def test_logs_name_the_trace_of_the_job_that_is_worked_on(store: JobStore) -> None:
    job = add(store)
    lines: list[str] = []
    handler = logging.Handler()
    handler.addFilter(TraceIds())
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.Logger("own")
    logger.addHandler(handler)
    with working(job):
        logger.info("%d %% done", 5)
    logger.info("idle")
    assert lines == [f"5 % done trace={trace_id(job)}", "idle"]


def test_an_exporter_that_is_not_installed_is_said_at_the_start(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError, match="opentelemetry-exporter-otlp-proto-http; install it"):
        Tracing(Settings(home=tmp_path, traces="otlp"))
    assert Settings(home=tmp_path, traces="otlp").process_env()["REEL_TRACES"] == "otlp"
