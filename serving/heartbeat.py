"""The heartbeat: keeps the leases of all jobs under way, and writes how far they are."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from serving.attempts import Attempt
from serving.leases import Leases

log = logging.getLogger(__name__)

BEAT_S = 0.8  # each takes 5 ms from the steps
BEATS_A_LEASE = 5


class Heartbeat(threading.Thread):
    """Renews in one transaction what has news, or was not renewed for a while.

    under_way: what is to be kept. A claim that turns out to be another's marks its attempt lost.
    """

    def __init__(
        self,
        leases: Leases,
        under_way: Callable[[], Sequence[Attempt]],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._leases, self._under_way, self._on_lost = leases, under_way, on_lost
        self._stopped = threading.Event()
        self._told: dict[Attempt, tuple[float, dict[str, int | str]]] = {}

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        while not self._stopped.wait(BEAT_S):
            attempts = [each for each in self._under_way() if not each.lost]
            now = time.monotonic()
            self._told = {each: self._told.get(each, (now, {})) for each in attempts}
            try:
                self._beat(attempts, now)
            except Exception:
                log.exception("could not renew the leases of %d jobs", len(attempts))
                for each in attempts:
                    # Another worker may own the job by now; two must never finish it.
                    if now - self._told[each][0] > self._leases.lease_s:
                        self._lose(each)

    def _beat(self, attempts: Sequence[Attempt], now: float) -> None:
        pause_s = self._leases.lease_s / BEATS_A_LEASE
        due = [
            (each, news)
            for each in attempts
            if (news := each.news) != self._told[each][1] or now - self._told[each][0] > pause_s
        ]
        if not due:
            return
        kept = self._leases.renew_many([(each.claim, news) for each, news in due])
        for (each, news), is_ours in zip(due, kept, strict=True):
            self._told[each] = (now, news)
            if not is_ours:
                self._lose(each)

    def _lose(self, attempt: Attempt) -> None:
        attempt.lost = True
        self._on_lost()
