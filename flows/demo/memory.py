"""The memory of everything together, sampled while the demo runs."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from flows import processes
from infra.job_files import read_json

EVERY_S = 10.0  # adding up all processes takes tens of milliseconds, which training feels
NAMED = 5  # processes listed for the peak


class MemoryWatch:
    """The highest sum of proportional set sizes over this process, its children and the stack.

    A page that several processes share counts once: each carries its part of it.
    `pidfile`: the stack's; it may appear and vanish while we watch.
    """

    def __init__(self, pidfile: Path, every_s: float = EVERY_S) -> None:
        self._pidfile, self._every_s = pidfile, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.peak_bytes = 0
        self.samples = 0
        self.largest: list[tuple[str, int]] = []
        """(name, bytes) of the largest processes at the peak."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every_s):
            self.sample()

    def sample(self) -> int:
        """Measure once; the sum in bytes."""
        sizes = [(member, pss_bytes(member.pid)) for member in members(self._pidfile)]
        total = sum(size for _, size in sizes)
        self.samples += 1
        if total > self.peak_bytes:
            self.peak_bytes = total
            sizes.sort(key=lambda item: -item[1])
            self.largest = [(label(member), size) for member, size in sizes[:NAMED]]
        return total


def members(pidfile: Path) -> list[psutil.Process]:
    """This process, the stack's, and all that descend from them; each once."""
    roots = [psutil.Process()]
    stack = read_json(pidfile)
    found = {}
    if stack is not None:
        # A child whose parent died is found by the mark that it inherited.
        found = {process.pid: process for process in processes.marked(stack["stack_id"])}
        for entry in stack["services"].values():
            if process := processes.find(entry["pid"], entry["create_time"]):
                roots.append(process)
    for root in roots:
        for process in processes.family(root):
            found[process.pid] = process
    return list(found.values())


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def label(process: psutil.Process) -> str:
    """What a person would call it: a Ray process's own title, or the module that Python runs."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return "ended"
    if words and words[0].startswith("ray::"):
        return words[0].split(".")[0]
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return Path(words[1] if len(words) > 1 and "python" in words[0] else words[0]).name
