"""The engines of a replica: one takes jobs and, after a swap, those before it end their own.

    fleet = Fleet(taps); fleet.swap(load, "3"); …; fleet.swap(load_other, "4"); …; fleet.stop()

A new version is loaded and has to make its canary while the old one works. Then it takes what is
claimed from now on; what is under way ends on the version that began it. A version that does not
load or fails its canary changes nothing, and `health` says why.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from serving.delivery import Seal, unsealed
from serving.engine import Engine
from serving.jobs import JobStore
from serving.leases import Claim
from serving.render import Generates

log = logging.getLogger(__name__)

LOOK_S = 0.1


class Tap(JobStore):
    """A store that gives out no jobs until it is opened, and none once it is closed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_open = False
        self._turning = threading.Lock()

    def turn(self, *, on: bool) -> None:
        """Open or close it; no claim is under way when this returns."""
        with self._turning:
            self._is_open = on

    def claim(self, *args: Any, **options: Any) -> Claim | None:
        """`JobStore.claim`, while it is open."""
        with self._turning:
            return super().claim(*args, **options) if self._is_open else None


class Fleet:
    """Engines of one device, with an engine's interface.

    Args:
        tap: makes a store for one engine.
        seal: of each engine, see `Engine`.
    """

    def __init__(self, tap: Callable[[], Tap], seal: Seal = unsealed) -> None:
        self._tap, self._seal = tap, seal
        self._swapping = threading.Lock()
        self._engines: list[tuple[Engine, Tap]] = []  # the last one takes jobs
        self._refused: dict[str, str] | None = None

    @property
    def version(self) -> str | None:
        """The version that takes jobs."""
        return str(self._engines[-1][0].health()["version"]) if self._engines else None

    def swap(self, load: Callable[[], Generates], version: str) -> None:
        """Serve that version from now on.

        Raises:
            Exception: whatever `load` raised; what was served before is.
        """
        with self._swapping:
            tap = self._tap()
            engine = Engine(tap, load, version, seal=self._seal)
            try:
                engine.start()
            except Exception as error:
                self._refused = {"version": version, "reason": str(error)}
                raise
            before = self._engines[-1:]
            self._engines = [*self._engines, (engine, tap)]
            self._refused = None
            for _, old in before:
                old.turn(on=False)
            tap.turn(on=True)
            engine.notify()
        for each in before:
            threading.Thread(target=self._drain, args=each, name="drain", daemon=True).start()

    def _drain(self, engine: Engine, tap: Tap) -> None:
        """Stop an engine that takes no more jobs when it has ended its own."""
        idle = threading.Event()
        while engine.health()["healthy"] and engine.health()["busy"] is not None:
            idle.wait(LOOK_S)
        engine.stop()
        self._engines = [each for each in self._engines if each != (engine, tap)]
        log.info("version %s has ended its last job", engine.health()["version"])

    def stop(self) -> None:
        """Stop them all; jobs under way go back to the queue."""
        for engine, tap in self._engines:
            tap.turn(on=False)
            engine.stop()

    def notify(self) -> None:
        self._engines[-1][0].notify()

    def dropped(self, job_id: str) -> None:
        for engine, _ in self._engines:
            engine.dropped(job_id)

    async def ended(self, job_id: str, within_s: float) -> None:
        """Return when any of them has ended the job; see `Engine.ended`."""
        waits = [asyncio.ensure_future(e.ended(job_id, within_s)) for e, _ in self._engines]
        _, late = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()

    def health(self) -> dict[str, Any]:
        """That of the engine that takes jobs; `ending` are the versions before it, `refused` the
        last one that could not be served, and why."""
        *before, (engine, _) = self._engines
        return {
            **engine.health(),
            "ending": [old.health()["version"] for old, _ in before],
            "refused": self._refused,
        }
