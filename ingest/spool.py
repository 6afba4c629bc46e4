"""Where the clips of films that were just read wait until the lake has taken them."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "spool"
LOCK = ".in-use"


@contextmanager
def open_spool(job_folder: Path) -> Iterator[Path]:
    """An empty folder below the job's, removed in the end.

    What killed jobs left beside this one is removed too: the system has let go of their locks.
    """
    for lock in job_folder.parent.glob(f"*/{NAME}/{LOCK}"):
        with lock.open() as handle:
            if _is_ours(handle.fileno()):
                shutil.rmtree(lock.parent, ignore_errors=True)
    folder = job_folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as handle:
        _is_ours(handle.fileno())
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _is_ours(handle: int) -> bool:
    """Lock the file unless a living process has; the lock ends with this process at the latest."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
