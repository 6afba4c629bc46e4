"""How far a refresh is, for people: how many films, and how long it will still take."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from infra.job_files import JobContext
from ingest.found import Found

FILM_BYTES = 1 << 18  # what it takes to open a film, in bytes of one that is being read
WINDOW_S = 120.0  # the speed is that of the last two minutes
PATIENCE_S = 5.0  # before that nothing is foretold


class Progress:
    """Counts the films of one refresh that are not known yet, and tells the job's followers.

    Work is counted in bytes: the largest films come first, so a count of films would foretell
    several times too much. What turns out to need no reading is no measure of speed.
    """

    def __init__(
        self,
        context: JobContext,
        films: Sequence[Found],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._clock = context, clock
        self._total = sum(map(_work, films))
        self._num_films, self._num_looked, self._num_done = len(films), 0, 0
        self._done = self._read = 0
        self._times = deque[tuple[float, int]]()  # and what had been read by then
        self._message = ""

    def look(self, film: Found) -> None:
        """Whether this film is new is known now."""
        self._num_looked += 1
        self._message = f"looked at {self._num_looked} of {self._num_films} files · {_name(film)}"
        self.still()

    def settle(self, film: Found) -> None:
        """This film needs no reading."""
        self._done += _work(film)
        self._num_done += 1

    def start(self) -> None:
        """Films are being read from now on."""
        self._times.append((self._clock(), self._read))

    def finish(self, film: Found) -> None:
        """This film has been read."""
        self.settle(film)
        self._read += _work(film)
        self._times.append((self._clock(), self._read))
        while self._times[0][0] < self._clock() - WINDOW_S and len(self._times) > 2:
            self._times.popleft()
        left_s = self.left_s()
        forecast = "" if left_s is None else f" · about {in_words(left_s)} left"
        count = f"{self._num_done} of {self._num_films} films"
        self._message = f"{count}{forecast} · {_name(film)}"
        self._report()

    def still(self) -> None:
        """Report again: a film that takes long must not look like a job that hangs.

        Raises:
            JobCancelledError: the job was asked to stop.
        """
        self._report()
        self._context.raise_if_stopping()

    def left_s(self) -> float | None:
        """Seconds until all is read, at the speed of late; None while it is too early to say."""
        (begun, before), (now, read) = self._times[0], self._times[-1]
        if now - begun < PATIENCE_S or read == before:
            return None
        return (self._total - self._done) * (now - begun) / (read - before)

    def _report(self) -> None:
        self._context.progress(self._done, max(1, self._total), self._message)


def in_words(seconds: float) -> str:
    """A time as exact as a forecast can be: "40 s", "5 min", "1.5 h"."""
    if seconds < 90:
        return f"{10 * math.ceil(seconds / 10)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _name(film: Found) -> str:
    return unquote(film.uri.rsplit("/", 1)[-1])


def _work(film: Found) -> int:
    return film.size_bytes + FILM_BYTES
