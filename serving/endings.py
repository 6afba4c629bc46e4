"""Who waits for a job, and is told at once that work on it has ended here; who follows it."""

import asyncio
import math
import threading
import time
from collections import deque
from concurrent.futures import Future

REMEMBERED = 256  # jobs that ended just before somebody asked
LATELY_S = 1.0  # those that ended earlier may have begun again; who asked earlier has gone


class Endings:
    """Filled by the engine's thread, awaited from any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Future[None]]] = {}
        self._ended: deque[tuple[str, float]] = deque(maxlen=REMEMBERED)
        self._followed: dict[str, float] = {}

    def announce(self, job_id: str) -> None:
        """Work on this job has ended, for whatever reason; what came of it is in SQL."""
        with self._lock:
            self._ended.append((job_id, time.monotonic()))
            waiting = self._waiting.pop(job_id, [])
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def is_followed(self, job_id: str) -> bool:
        """Whether somebody is shown what the job is coming to."""
        with self._lock:
            return self._followed.get(job_id, -math.inf) > time.monotonic() - LATELY_S

    async def wait(self, job_id: str, within_s: float, *, follows: bool = False) -> bool:
        """True when work on the job ends, or has ended lately; False after `within_s`.

        `follows`: until then the job's previews are of use.
        """
        future: Future[None] = Future()
        with self._lock:
            now = time.monotonic()
            since = now - LATELY_S
            if follows:
                recent = {each: at for each, at in self._followed.items() if at > since}
                self._followed = {**recent, job_id: now + within_s}
            if any(ended == job_id and at > since for ended, at in self._ended):
                return True
            self._waiting.setdefault(job_id, []).append(future)
        try:
            await asyncio.wait_for(asyncio.wrap_future(future), within_s)
        except TimeoutError:
            with self._lock:
                left = [f for f in self._waiting.pop(job_id, []) if f is not future]
                if left:
                    self._waiting[job_id] = left
            return False
        return True
