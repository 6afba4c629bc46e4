"""How many engines the backlog asks for: the policy that Ray Serve's controller goes by.

Backlog is what admission counts: queued device seconds, with what is left of the jobs under way.
Ray pickles this module by value into its controller: it imports the standard library alone.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

QUEUED, BUSY = "queued_device_s", "busy"


class Sample(Protocol):
    """A measured value of one replica."""

    timestamp: float
    value: float


class Context(Protocol):
    """The part of `ray.serve.config.AutoscalingContext` that counts here."""

    target_num_replicas: int

    @property
    def raw_metrics(self) -> Mapping[str, Mapping[Any, Sequence[Sample]]] | None: ...


def engines_for(queued_s: float, backlog_s: float, most: int) -> int:
    """One for each `backlog_s` that waits, begun or not; at least one, at most `most`."""
    return min(max(math.ceil(queued_s / backlog_s), 1), most)


class BacklogPolicy:
    """The number of engines by their own reports; engines that work are not taken away.

    Args:
        backlog_s: device seconds that one engine may have before it.
        max_engines: there are never more.
    """

    def __init__(self, backlog_s: float, max_engines: int) -> None:
        self._backlog_s, self._max_engines = backlog_s, max_engines

    def __call__(self, context: Context) -> tuple[int, dict[str, Any]]:
        """(engines wanted, no state). Ray Serve adds the delays, and keeps to its bounds."""
        metrics = context.raw_metrics or {}
        queued = _last(metrics.get(QUEUED, {}))
        if not queued:  # no engine has reported yet
            return context.target_num_replicas, {}
        queued_s = max(queued, key=lambda sample: sample.timestamp).value
        wanted = engines_for(queued_s, self._backlog_s, self._max_engines)
        busy = sum(1 for sample in _last(metrics.get(BUSY, {})) if sample.value)
        return max(wanted, min(busy, context.target_num_replicas)), {}


def _last(reports: Mapping[Any, Sequence[Sample]]) -> list[Sample]:
    return [samples[-1] for samples in reports.values() if samples]


class Rest:
    """Tells an engine that has been one too many for `after_s` to take no more jobs.

    Ray Serve chooses the replica that it stops: the newest, of the highest rank. That one should
    be idle by then.
    """

    def __init__(self, after_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._after_s, self._now = after_s, now
        self._since: float | None = None

    def look(self, rank: int, wanted: int) -> bool:
        """Whether to rest, for the engine of that rank where so many are wanted."""
        if rank < wanted:
            self._since = None
            return False
        if self._since is None:
            self._since = self._now()
        return self._now() - self._since >= self._after_s
