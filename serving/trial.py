"""The trial of a version that was swapped in: its first jobs decide whether it stays.

It stays once PROVEN_BY jobs have ended well. It is taken back when at least STRIKES attempts failed
inside it, and more than ended well. A job that fails meanwhile goes back to the queue, as long as
its attempts last, so that a bad version costs none.
"""

import threading
from collections.abc import Callable

PROVEN_BY, STRIKES = 3, 2


class Trial:
    """Thread-safe; each of the two is called once at most, and only one of them.

    Args:
        on_proven: the version stays; nothing need be kept to go back to.
        on_failed: takes the reason; when it returns, the version is given no more jobs.
    """

    def __init__(self, on_proven: Callable[[], None], on_failed: Callable[[str], None]) -> None:
        self._on_proven, self._on_failed = on_proven, on_failed
        self._lock = threading.Lock()
        self._well = self._bad = 0
        self._is_over = self._is_lost = False

    def well(self) -> None:
        """A job has ended well."""
        with self._lock:
            self._well += 1
            proven = not self._is_over and self._well >= PROVEN_BY
            self._is_over |= proven
        if proven:
            self._on_proven()

    def bad(self, job_id: str, error: Exception) -> bool:
        """An attempt failed with `error`, which is not the user's; whether the version may be why.

        A full disk is not the version's. Too little memory is not either, but the version before
        it, which is kept for the trial, may be why: it is let go.
        """
        if isinstance(error, OSError):
            return False
        if is_out_of_memory(error):
            return self.end()
        with self._lock:
            if self._is_over:
                return self._is_lost
            self._bad += 1
            if self._bad >= STRIKES and self._bad > self._well:
                self._is_over = self._is_lost = True
                # Others wait here until it is given no more jobs, or they would go back to it.
                self._on_failed(
                    f"{self._bad} of its first {self._bad + self._well} jobs failed, the last with "
                    f"{type(error).__name__} (the log has it under {job_id})"
                )
        return True

    def end(self) -> bool:
        """The version stays, whatever it has shown; False when the trial was over."""
        with self._lock:
            ends, self._is_over = not self._is_over, True
        if ends:
            self._on_proven()
        return ends

    def lose(self) -> None:
        """Another engine's trial has failed: what fails here from now on goes back as well."""
        with self._lock:
            self._is_over = self._is_lost = True


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had too little memory."""
    return isinstance(error, MemoryError) or "out of memory" in str(error)
