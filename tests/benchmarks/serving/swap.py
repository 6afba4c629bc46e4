"""A new champion under load: what fails while it takes over.

Expected before it was measured: nothing.
"""

import random
import threading
import time
import urllib.error

from tests.benchmarks.figure import Figure
from tests.benchmarks.serving.world import PROMPT, call, deployed

SWAPS, CLIENTS = 3, 4
PAUSE_S = 5.0


def swap_failed_requests() -> dict[str, Figure]:
    """Calls that were answered with an error or not at all, and jobs that did not complete."""
    failed, asked, versions = list[str](), [0], set[str]()
    over = threading.Event()

    def ask(number: int) -> None:
        rng = random.Random(number)
        while not over.is_set():
            try:
                body = {"prompt": PROMPT, "seconds": 1, "size": "64x48"}
                video = call(f"{url}/v1/videos", body)
                while video["status"] in ("queued", "in_progress"):
                    asked[0] += 1
                    time.sleep(0.1)
                    video = call(f"{url}/v1/videos/{video['id']}")
                versions.add(video["x_model_version"])
                if video["status"] == "failed":
                    failed.append(str(video["error"]))
            except (urllib.error.URLError, OSError) as error:
                failed.append(repr(error))
            over.wait(rng.expovariate(1.0))

    with deployed() as served:
        url = served.url
        clients = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for version in range(2, 2 + SWAPS):
            time.sleep(PAUSE_S)
            served.deploy(str(version))
        time.sleep(PAUSE_S)
        over.set()
        for client in clients:
            client.join()
    note = f"{SWAPS} swaps, jobs on versions {', '.join(sorted(versions))}; {failed[:2] or 'none'}"
    figure = Figure(value=len(failed), target=0, better="lower", n=asked[0], note=note)
    return {"swap_failed_requests": figure}
