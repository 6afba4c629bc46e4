"""Ten times as many jobs as can be done, for five minutes: what is refused, kept and held.

Expected before it was measured: none lost, memory as it was.
"""

import time
import urllib.error

import psutil

from serving.happenings import ENDS
from serving.jobs import JobStore
from tests.benchmarks.figure import Figure
from tests.benchmarks.serving.world import PROMPT, call, queue, server, wait

OVERLOAD_S, FIRST_S = 300.0, 60.0
TIMES = 10
QUEUE_S = "30"  # of device time may wait


def overload() -> dict[str, Figure]:
    """Jobs that were accepted and did not complete; memory at the end over that of a minute."""
    with server(REEL_QUEUE_DEVICE_S=QUEUE_S) as running:
        rate = TIMES / _alone_s(running.store)
        process, rss = psutil.Process(running.process.pid), list[tuple[float, int]]()
        accepted, refused = [], 0
        begun = time.monotonic()
        while (now := time.monotonic() - begun) < OVERLOAD_S:
            try:
                body = {"prompt": PROMPT, "seconds": 1, "size": "64x48"}
                accepted.append(call(f"{running.url}/v1/videos", body)["id"])
            except urllib.error.HTTPError as error:
                assert error.code == 429 and error.headers["retry-after"], error
                refused += 1
            rss.append((now, process.memory_info().rss))
            # Open loop: the next one is due whatever became of this one.
            due = begun + (len(accepted) + refused) / rate
            time.sleep(max(0.0, due - time.monotonic()))
        jobs = [running.store.get(job_id) for job_id in accepted]
        ended = wait(running.store, jobs)
        lost = sum(
            [e.type for e in running.store.events(job.id, limit=10_000) if e.type in ENDS]
            != ["completed"]
            for job in ended
        )
    first = max(size for at, size in rss if at <= FIRST_S)
    last = max(size for at, size in rss if at >= OVERLOAD_S - FIRST_S / 6)
    asked = len(accepted) + refused
    note = f"{asked} requests in {OVERLOAD_S:.0f} s, {len(accepted)} accepted, {refused} told 429"
    return {
        "overload_lost": Figure(value=lost, target=0, better="lower", n=len(accepted), note=note),
        "overload_rss_growth": Figure(
            value=last / first,
            target=1.1,
            better="lower",
            n=len(rss),
            note=f"{last / 2**20:.0f} MiB at the end, {first / 2**20:.0f} in the first minute",
        ),
    }


def _alone_s(store: JobStore) -> float:
    """Seconds of one job at a time."""
    wait(store, [queue(store, 1, 1.0)])
    begun = time.monotonic()
    for seed in range(4):
        wait(store, [queue(store, seed, 1.0)])
    return (time.monotonic() - begun) / 4
