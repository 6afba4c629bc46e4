"""The gateway's link to the engines, however many Ray Serve runs of them."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

log = logging.getLogger(__name__)

ANSWER_S = 5.0


class Replicas:
    """An `EngineLink`. A job is on one engine, and the gateway does not know on which: it asks all.

    Args:
        handle: of the engines' deployment, a `ray.serve.handle.DeploymentHandle`.
        refused: what was taken back, where no engine remembers it.
    """

    def __init__(
        self, handle: Any, refused: Callable[[], dict[str, str] | None] = lambda: None
    ) -> None:
        self._handle, self._refused = handle, refused
        self._threads = ThreadPoolExecutor(4, "dropped")

    def notify(self) -> None:
        self._handle.notify.remote()  # any: the others look by themselves, a little later

    def dropped(self, job_id: str) -> None:
        # A broadcast begins when its results are asked for, and callers must not wait for them.
        self._threads.submit(self._drop, job_id)

    def _drop(self, job_id: str) -> None:
        try:
            told = self._handle.broadcast("dropped", job_id)
            told.results(timeout_s=ANSWER_S, return_exceptions=True)
        except Exception as error:  # its heartbeat will tell the engine
            log.warning("the engines were not told that %s is dropped: %s", job_id, error)

    async def ended(self, job_id: str, within_s: float, *, follows: bool = False) -> None:
        try:
            asked = self._handle.broadcast("ended", job_id, within_s, follows=follows)
            told = await asked.results_async(timeout_s=within_s + ANSWER_S, return_exceptions=True)
        except Exception:  # replicas that are being replaced cannot tell; SQL will
            told = []
        if True not in told:  # it is on no engine
            await asyncio.sleep(within_s)

    async def health(self) -> dict[str, Any]:
        states: Sequence[Any]
        try:
            states = await self._handle.broadcast("health").results_async(
                timeout_s=ANSWER_S, return_exceptions=True
            )
        except Exception as error:  # whatever keeps the engines from answering
            states = [error]
        state = together(states)
        return {**state, "refused": state.get("refused") or self._refused()}


def together(states: Sequence[Any]) -> dict[str, Any]:
    """One health of those of all engines, of which some may be exceptions.

    `version` is what most of them serve, `versions` how many serve which.
    """
    known = [state for state in states if isinstance(state, dict)]
    if not known:
        reason = type(states[0]).__name__ if states else "no engine"
        return {"healthy": False, "version": "", "reason": reason}
    versions = Counter(str(state["version"]) for state in known)
    return {
        "healthy": any(state["healthy"] for state in known),
        "version": versions.most_common(1)[0][0],
        "busy": _first(known, "busy"),
        "under_way": sum(state["under_way"] for state in known),
        "jobs_ended": sum(state["jobs_ended"] for state in known),
        "ending": sorted({version for state in known for version in state["ending"]}),
        "standby": _first(known, "standby"),
        "refused": _first(known, "refused"),
        "engines": len(known),
        "versions": dict(versions),
    }


def _first(states: Sequence[dict[str, Any]], key: str) -> Any:
    return next((state[key] for state in states if state[key] is not None), None)
