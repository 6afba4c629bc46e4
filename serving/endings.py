"""Who waits for a job, and is told at once that work on it has ended here."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future

REMEMBERED = 256  # jobs that ended just before somebody asked


class Endings:
    """Filled by the engine's thread, awaited from any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Future[None]]] = {}
        self._ended: deque[str] = deque(maxlen=REMEMBERED)

    def announce(self, job_id: str) -> None:
        """Work on this job has ended, for whatever reason; what came of it is in SQL."""
        with self._lock:
            self._ended.append(job_id)
            waiting = self._waiting.pop(job_id, [])
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    async def wait(self, job_id: str, within_s: float) -> None:
        """Return when work on the job ends, or has ended lately, or after `within_s`."""
        future: Future[None] = Future()
        with self._lock:
            if job_id in self._ended:
                return
            self._waiting.setdefault(job_id, []).append(future)
        try:
            await asyncio.wait_for(asyncio.wrap_future(future), within_s)
        except TimeoutError:
            with self._lock:
                left = [f for f in self._waiting.pop(job_id, []) if f is not future]
                if left:
                    self._waiting[job_id] = left
