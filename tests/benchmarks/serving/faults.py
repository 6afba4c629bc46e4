"""kill -9 at random moments under load: every accepted job ends once, little is repeated.

The application as it is deployed, on a Ray cluster and a PostgreSQL of its own. What is killed is
drawn anew each time: the engine, the gateway, Ray Serve's controller or the database, which alone
is started again by us, as its service would be; Ray starts the others.
"""

import itertools
import random
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPException

import psutil

from infra.catalog_models import GenerationJob
from serving.attempts import SAVE_EVERY
from serving.happenings import ENDS
from serving.jobs import JobStore
from tests.benchmarks.figure import Figure
from tests.benchmarks.serving.world import PROMPT, Deployed, call, deployed, until_healthy, wait
from tests.postgres import Postgres, postgres

KILLS = 30
UNDER_WAY = 6
SECONDS = (1, 1, 4)
PAUSE_S = 20.0  # at most between two kills: an engine needs half of it to come back
PROCESSES = {
    "engine": "ray::ServeReplica:reel:Engine",
    "gateway": "ray::ServeReplica:reel:Gateway",
    "controller": "ray::ServeController",
}
TARGETS = (*PROCESSES, "database")


def kill_exactly_once() -> dict[str, Figure]:
    """Kills after which all was as it should be: none, when a job ended otherwise than once."""
    rng, accepted, killed = random.Random(13), list[str](), Counter[str]()
    with postgres() as database, deployed(database) as served:
        store = served.store
        while killed.total() < KILLS:
            _top_up(served, accepted, rng)
            time.sleep(rng.uniform(0.0, PAUSE_S))
            target = rng.choice(TARGETS)
            killed[target] += _kill(target, database)
        until_healthy(served.url)
        ended = wait(store, [store.get(job_id) for job_id in accepted])
        once = all(_ends(store, job) == ["completed"] for job in ended)
        repeats = [steps for job in ended for steps in _repeated(store, job)]
    right = KILLS if once and max(repeats, default=0) <= SAVE_EVERY else 0
    note = (
        f"{', '.join(f'{count} of the {name}' for name, count in sorted(killed.items()))}; "
        f"{len(accepted)} jobs, each ended once: {once}; {len(repeats)} went on, repeating at "
        f"most {max(repeats, default=0)} steps that they had told of (saved every {SAVE_EVERY})"
    )
    figure = Figure(value=right, target=KILLS, better="higher", n=KILLS, note=note)
    return {"kill_exactly_once": figure}


def _top_up(served: Deployed, accepted: list[str], rng: random.Random) -> None:
    """Queue so many that some are always under way; what is not answered was not accepted."""
    going = sum(served.store.get(job_id).status not in ENDS for job_id in accepted)
    for _ in range(UNDER_WAY - going):
        body = {
            "prompt": PROMPT,
            "seconds": rng.choice(SECONDS),
            "steps": 60,
            "seed": len(accepted),
        }
        try:
            accepted.append(call(f"{served.url}/v1/videos", body)["id"])
        except (OSError, HTTPException):
            return  # the gateway is being started; the next kill need not wait for it


def _kill(target: str, database: Postgres) -> bool:
    """Kill it; False when it is not running just now."""
    if target == "database":
        database.restart()
        return True
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if PROCESSES[target] in " ".join(process.cmdline()):
                process.kill()
                return True
    return False


def _ends(store: JobStore, job: GenerationJob) -> list[str]:
    return [event.type for event in store.events(job.id, limit=100_000) if event.type in ENDS]


def _repeated(store: JobStore, job: GenerationJob) -> list[int]:
    """For each time that the job went on: how many steps it fell back."""
    steps = [
        int(event.data["step"])
        for event in store.events(job.id, limit=100_000)
        if event.type == "progress" and "step" in event.data
    ]
    return [max(a - b, 0) for a, b in itertools.pairwise(steps) if b < a]
