"""Footage into the lake: `python -m ingest.job --spec spec.json`.

spec: {"uri": folder, file or manifest, "recipe": {…IngestRecipe}, "parallel": "ray" | "inline"}
      or "retry": true in place of the uri: all that lies in quarantine is judged anew
result: {"funnel": {files, duplicates, quarantined, withdrawn, accepted, shots, clips, rejected},
         "new_sources", "new_clips", "captions", "seconds" (of footage in clips), "wall_s"},
        of a retry also "retried" and "mended" files
"""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from infra.job_files import JobContext, run_job
from infra.lake import Lake
from infra.recipes import fingerprint, from_dict
from infra.settings import Settings
from ingest.captions import apply_captions
from ingest.fetch import FetchError, FilmCache
from ingest.film import FilmResult, quarantined
from ingest.finder import check
from ingest.found import Found
from ingest.ledger import Ledger, funnel
from ingest.progress import Progress
from ingest.reading import Task, open_readers
from ingest.recipe import IngestRecipe
from ingest.retry import Retry
from ingest.sources import content_id, find_films, scope
from ingest.spool import open_spool

FETCHES_AT_ONCE = 8
FLUSH_FILMS = 32
FLUSH_BYTES = 64 << 20
FLUSH_S = 20.0


def main(context: JobContext) -> dict[str, Any]:
    """Ingest what is new at the spec's URI; the module's docstring has the spec and the result."""
    started, settings = time.monotonic(), Settings()
    recipe = from_dict(IngestRecipe, context.spec.get("recipe", {}))
    check(recipe.shots)
    parallel = context.spec.get("parallel", "inline")
    again = bool(context.spec.get("retry"))
    films = [] if again else find_films(context.spec["uri"])
    lake = Lake(settings.lake_uri)
    lake.ensure()
    context.folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(lake, fingerprint(recipe), recipe.duplicates, context.folder)
    retry = Retry(lake, ledger) if again else None
    films = retry.films() if retry else films
    cache = FilmCache(
        settings.home / "fetched", int(settings.fetch_gib * 2**30), context.raise_if_stopping
    )
    clips_before = lake.count("clips", "status = 'accepted'")
    context.progress(0, 1, f"found {len(films)} files")

    known = retry.is_settled if retry else ledger.is_known
    unknown = [film for film in films if not known(film)]
    progress = Progress(context, unknown)
    with (
        open_spool(context.folder) as spool,
        open_readers(parallel, recipe, spool, settings, progress.still) as readers,
    ):
        for batch in cache.batches(unknown):
            tasks = _tasks(context, batch, ledger, cache, progress)
            _ingest(context, ledger, progress, readers.read(tasks))
            cache.drop(batch)
    ledger.describe(films)
    gone = retry.gone if retry else _gone(ledger, films, scope(context.spec["uri"]))
    ledger.clear_quarantine(films, gone)
    ledger.tidy()
    captions = apply_captions(lake, ledger.rows, films, cache)

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
        **(retry.counts() if retry else {}),
    }


def _gone(ledger: Ledger, films: Sequence[Found], place: str) -> set[str]:
    """Quarantined files that are no longer where this refresh looked."""
    missing = ledger.quarantined() - {film.uri for film in films}
    return {uri for uri in missing if uri.startswith(place)}


def _tasks(
    context: JobContext,
    films: Sequence[Found],
    ledger: Ledger,
    cache: FilmCache,
    progress: Progress,
) -> list[Task]:
    """The contents that the lake does not know; the largest first, so that no big one comes last
    and that of two copies the better one is usually read before the other."""
    contents: dict[str, list[Found]] = defaultdict(list)
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        looks = pool.map(lambda film: _identify(context, film, ledger, cache), films)
        for film, (local, source_id, error) in zip(films, looks, strict=True):
            progress.look(film)
            if error is None:
                contents[source_id].append(local)
            else:
                ledger.refuse(film, *error)
                progress.settle(film)
    tasks = []
    for source_id, same in contents.items():
        if not ledger.adopt(same, source_id):
            tasks.append(Task(source_id=source_id, films=same))
            continue
        for film in same:
            progress.settle(film)
    return sorted(tasks, key=lambda task: (-task.films[0].size_bytes, task.films[0].uri))


def _identify(
    context: JobContext, film: Found, ledger: Ledger, cache: FilmCache
) -> tuple[Found, str, tuple[str, str, str] | None]:
    """The film on this machine and its content; or at which stage, why, and whose words."""
    context.raise_if_stopping()
    if film.problem:
        return film, "", ("list", film.problem, "")
    try:
        local = cache.fetch(film)
        assert local.path is not None, "fetched"
        return local, ledger.source_id(film) or content_id(local.path), None
    except FetchError as error:
        return film, "", ("fetch", error.reason, error.words)
    except OSError as error:
        return film, "", ("open", "the file cannot be read", str(error))


def _ingest(
    context: JobContext,
    ledger: Ledger,
    progress: Progress,
    results: Iterator[tuple[Task, FilmResult]],
) -> None:
    """Take in the results as they come, and write them in batches."""
    flushed = time.monotonic()
    progress.start()
    for done, (task, result) in enumerate(results, start=1):
        ledger.add(result)
        copies = task.films[1:]
        if copies and not ledger.adopt(copies, task.source_id):
            for copy in copies:
                source = {**result.source, **copy.facts()}
                ledger.add(quarantined(source, result.stage, result.reason, result.error))
        for film in task.films:
            progress.finish(film)
        many = done % FLUSH_FILMS == 0 or ledger.pending_bytes > FLUSH_BYTES
        if many or time.monotonic() - flushed > FLUSH_S or context.should_stop:
            ledger.flush()
            flushed = time.monotonic()
        context.raise_if_stopping()
    ledger.flush()


if __name__ == "__main__":
    sys.exit(run_job(main))
