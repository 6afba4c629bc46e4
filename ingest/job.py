"""Footage into the lake: `python -m ingest.job --spec spec.json`.

spec: {"uri": folder or file, "recipe": {…IngestRecipe}, "parallel": "ray" | "inline"}
result: {"funnel": {files, duplicates, quarantined, accepted, shots, clips, rejected},
         "new_sources", "new_clips", "captions", "seconds" (of footage in clips), "wall_s"}
"""

import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import InputError
from infra.job_files import JobContext, run_job
from infra.lake import Lake
from infra.ray_jobs import connect
from infra.recipes import fingerprint, from_dict
from infra.settings import Settings
from ingest.captions import apply_captions
from ingest.film import FilmResult, Row, ingest_film, quarantined
from ingest.ledger import Ledger, funnel
from ingest.recipe import IngestRecipe
from ingest.sources import Found, content_id, find_films

FLUSH_FILMS = 32
FLUSH_BYTES = 64 << 20
FLUSH_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One content to read, once, however many files hold it."""

    source_id: str
    films: Sequence[Found]

    @property
    def path(self) -> Path:
        return self.films[0].path

    def source(self) -> Row:
        return {**self.films[0].facts(), "source_id": self.source_id}


def main(context: JobContext) -> dict[str, Any]:
    """Ingest what is new at the spec's URI; the module's docstring has the spec and the result."""
    started, settings = time.monotonic(), Settings()
    recipe = from_dict(IngestRecipe, context.spec.get("recipe", {}))
    parallel = context.spec.get("parallel", "inline")
    if parallel not in ("ray", "inline"):
        raise InputError(f"parallel is {parallel!r}; use 'ray' or 'inline'")
    films = find_films(context.spec["uri"])
    lake = Lake(settings.lake_uri)
    lake.ensure()
    ledger = Ledger(lake, fingerprint(recipe), recipe.duplicates)
    clips_before = lake.count("clips", "status = 'accepted'")
    context.progress(0, 1, f"found {len(films)} files")

    tasks = _tasks(context, films, ledger, settings.cpu_count)
    read = _read_inline if parallel == "inline" else _read_with_ray
    _ingest(context, ledger, tasks, read(tasks, recipe, settings))
    ledger.tidy()
    captions = apply_captions(lake, ledger.rows, films)

    counts = funnel(lake, ledger, films)
    seconds = counts.pop("seconds")
    context.progress(1, 1, "done")
    return {
        "funnel": counts,
        "new_sources": ledger.new_sources,
        "new_clips": max(0, lake.count("clips", "status = 'accepted'") - clips_before),
        "captions": captions,
        "seconds": seconds,
        "wall_s": round(time.monotonic() - started, 3),
    }


def _tasks(context: JobContext, films: Sequence[Found], ledger: Ledger, threads: int) -> list[Task]:
    """The contents that the lake does not know; the largest first, so that no big one comes last
    and that of two copies the better one is usually read before the other."""
    unknown = [film for film in films if not ledger.is_known(film)]
    new: dict[str, list[Found]] = defaultdict(list)
    with ThreadPoolExecutor(threads) as pool:
        for film, source_id in zip(unknown, pool.map(_identify, unknown), strict=True):
            context.raise_if_stopping()
            if isinstance(source_id, OSError):
                ledger.add_unreadable(film, str(source_id))
            elif not ledger.adopt(film, source_id):
                new[source_id].append(film)
    tasks = [Task(source_id=source_id, films=same) for source_id, same in new.items()]
    return sorted(tasks, key=lambda task: (-task.films[0].size_bytes, task.films[0].uri))


def _identify(film: Found) -> str | OSError:
    try:
        return content_id(film.path)
    except OSError as error:
        return error


def _ingest(
    context: JobContext,
    ledger: Ledger,
    tasks: Sequence[Task],
    results: Iterator[tuple[Task, FilmResult]],
) -> None:
    """Take in the results as they come, and write them in batches."""
    flushed = time.monotonic()
    for done, (task, result) in enumerate(results, start=1):
        ledger.add(result)
        for copy in task.films[1:]:
            if not ledger.adopt(copy, task.source_id):
                source = {**result.source, **copy.facts()}
                ledger.add(quarantined(source, result.stage, result.reason, result.error))
        context.progress(done, len(tasks), task.path.name)
        many = done % FLUSH_FILMS == 0 or ledger.pending_bytes > FLUSH_BYTES
        if many or time.monotonic() - flushed > FLUSH_S or context.should_stop:
            ledger.flush()
            flushed = time.monotonic()
        context.raise_if_stopping()
    ledger.flush()


def _read_inline(
    tasks: Sequence[Task], recipe: IngestRecipe, settings: Settings
) -> Iterator[tuple[Task, FilmResult]]:
    for task in tasks:
        yield task, ingest_film(task.path, task.source(), recipe)


def _read_with_ray(
    tasks: Sequence[Task], recipe: IngestRecipe, settings: Settings
) -> Iterator[tuple[Task, FilmResult]]:
    """Results as they finish; no more films are in flight than twice the cores."""
    if not tasks:
        return
    ray = connect(settings)
    remote = ray.remote(num_cpus=1, max_retries=1)(ingest_film)
    waiting, running = deque(tasks), dict[Any, Task]()
    while waiting or running:
        while waiting and len(running) < 2 * settings.cpu_count:
            task = waiting.popleft()
            running[remote.remote(task.path, task.source(), recipe)] = task
        ready, _ = ray.wait(list(running), num_returns=1)
        task = running.pop(ready[0])
        yield task, _result(ray, ready[0], task, recipe)


def _result(ray: Any, reference: Any, task: Task, recipe: IngestRecipe) -> FilmResult:
    try:
        result: FilmResult = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        source = {**task.source(), "recipe": fingerprint(recipe)}
        return quarantined(source, "decode", "decoding it crashed the process", str(error))
    return result


if __name__ == "__main__":
    sys.exit(run_job(main))
