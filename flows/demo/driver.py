"""`reel demo`: from a folder of films to a served, promoted model, through the real services.

    status = run(None)                 # films that it renders itself, whose truth it knows
    status = run(Path("~/footage"))    # a user's own, into the user's own lake

Everything goes through the Prefect server, its worker and Ray jobs; the report is all that is the
demo's own.
"""

import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from flows import evaluation_recipe
from flows.demo.figures import Figure, in_order, table_lines
from flows.demo.memory import MemoryWatch
from flows.demo.places import Places, near
from flows.demo.stages import Stages
from infra.errors import InfrastructureError
from infra.job_files import write_json

FILMS, WORKERS = 150, 2
ORACLE = "flows.demo.judge:judge"  # of the films that are rendered here, and of no others


def run(footage: Path | None) -> int:
    """The whole demo; 0 once the chain ran through, also when a figure missed its target.

    Raises:
        ReelError: a step of the chain failed; the message is the step's own.
    """
    places = Places.of(footage)
    places.enter()
    stages, started = Stages(), datetime.now(UTC)
    stages.say(f"Reelwright demo in {near(places.settings.home)}")
    with _stoppable(), MemoryWatch(places.settings.home / "stack.json") as memory:
        with _standing(places, stages):
            chain = _chain(places, stages)
            # Imported here: they bring Lance and others along, which cost seconds.
            from flows.demo.findings import find_out
            from flows.demo.history import done_jobs
            from flows.demo.report import Report

            jobs = done_jobs(places.settings, started)
            findings = find_out(places, stages, chain["refresh"]["release"], jobs)
        figures = findings.figures | _whole(stages, memory)
    report = Report(
        places=places,
        wall_s=stages.wall_s,
        refreshed=chain["refresh"],
        jobs=jobs,
        findings=findings,
        figures=in_order(figures),
        started=started,
    )
    report.write()
    _print(figures, places)
    return 0


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into what Ctrl-C is, so that the services are stopped on the way out."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _standing(places: Places, stages: Stages) -> Iterator[None]:
    """The footage and the services; those that were not running before are stopped at the end."""
    from flows import stack

    settings = places.settings
    was_up = any(row.pid for row in stack.status(settings))
    try:
        with stages.stage("set-up", "Footage and services"), _rendering(places, stages):
            stack.up(settings, stages.say)
        yield
    finally:
        if not was_up:
            with stages.stage("stop", "Stopping the services"):
                stages.say(f"stopped: {', '.join(stack.down(settings)) or 'none was running'}")


@contextmanager
def _rendering(places: Places, stages: Stages) -> Iterator[None]:
    """Renders the demo's films meanwhile, and waits for them at the end."""
    if places.world is None:
        yield
        return
    from flows.demo.world import write_world

    world, given_up = places.world, threading.Event()

    def progress(done: int, total: int) -> None:
        if given_up.is_set():
            raise InfrastructureError("rendering was given up: the services did not start")
        if done == total or done % 40 == 0:
            stages.say(f"rendered {done} of {total} files into {near(places.footage)}")

    with ThreadPoolExecutor(1, "world") as pool:
        films = pool.submit(write_world, world, films=FILMS, workers=WORKERS, on_progress=progress)
        try:
            yield
            films.result()
        except BaseException:
            given_up.set()
            raise


def _chain(places: Places, stages: Stages) -> dict[str, dict[str, Any]]:
    """The four flows, one after the other; their results by name."""
    from flows.client import run_and_follow

    chain = {}
    with stages.stage("refresh-data", "Footage → shots → clips → captions → a release"):
        chain["refresh"] = run_and_follow("refresh-data", {"uri": str(places.footage)}, stages.say)
    with stages.stage("train-model", "VAE → latents → diffusion transformer → evaluation"):
        release = chain["refresh"]["release"]
        if places.world is not None:
            write_json(evaluation_recipe.path_of(places.settings), {"oracle": ORACLE})
        chain["train"] = run_and_follow("train-model", {"release": release}, stages.say)
    with stages.stage("promote-model", "The gate: candidate → champion"):
        version = chain["train"]["version"]
        chain["promote"] = run_and_follow("promote-model", {"version": version}, stages.say)
    with stages.stage("deploy-model", "Serving the champion"):
        chain["deploy"] = run_and_follow("deploy-model", {}, stages.say)
    return chain


def _whole(stages: Stages, memory: MemoryWatch) -> dict[str, Figure]:
    """The figures of the demo as a whole."""
    memory.sample()
    largest = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in memory.largest)
    parts = ", ".join(f"{key} {seconds:.0f}" for key, seconds in stages.wall_s.items())
    return {
        "total_s": Figure(value=round(stages.elapsed_s, 1), n=1, note=parts),
        "peak_rss_gb": Figure(
            value=round(memory.peak_bytes / 2**30, 3),
            n=memory.samples,
            note=f"largest at the peak: {largest}",
        ),
    }


def _print(figures: dict[str, Figure], places: Places) -> None:
    """The table, and where to look on."""
    settings = places.settings
    width = shutil.get_terminal_size((140, 24)).columns
    print("\n" + "\n".join(line[:width] for line in table_lines(figures)))
    print(f"\nThe report:   {near(places.folder / 'report.html')}")
    print(f"What it made: {near(places.outputs)}")
    mark = "" if places.world is None else f"REEL_HOME={near(settings.home)} "
    print(f"\nTo look around: {mark}reel up, and after: {mark}reel down")
    print(f"  {settings.prefect_api_url.removesuffix('/api'):<24} Prefect: runs and their pages")
    print(f"  {settings.mlflow_url:<24} MLflow: curves, samples, the registered model")
    print(f"  {settings.ray_url:<24} Ray: jobs and replicas")
    print(f"  {settings.serve_url + '/v1':<24} the model, for any openai client", flush=True)
