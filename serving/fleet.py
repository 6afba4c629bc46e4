"""The engines of a replica: one takes jobs and, after a swap, those before it end their own.

    fleet = Fleet(taps); fleet.swap(load, "3"); …; fleet.swap(load_other, "4"); …; fleet.stop()

A new version is loaded and has to make its canary while the old one works. Then it takes what is
claimed from now on; what is under way ends on the version that began it. A version that does not
load or fails its canary changes nothing, and `health` says why. The version before it stands by
until the new one is proven (`serving.trial`), and takes the jobs again when that fails.
"""

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from infra.catalog_models import Artifact
from serving.delivery import Seal, unsealed
from serving.engine import Engine
from serving.jobs import JobStore
from serving.leases import Claim
from serving.render import Generates
from serving.trial import Trial

log = logging.getLogger(__name__)

LOOK_S = 0.1


class Tap(JobStore):
    """A store that gives out no jobs until it is opened, and none once it is closed.

    `trial` hears how the jobs of its engine end.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.trial: Trial | None = None
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

    def complete(
        self, claim: Claim, artifacts: Sequence[Artifact], timings: dict[str, float]
    ) -> bool:
        """`JobStore.complete`; it speaks for the version."""
        done = super().complete(claim, artifacts, timings)
        if done and self.trial is not None:
            self.trial.well()
        return done

    def excuse(self, claim: Claim, error: Exception) -> bool:
        """Put the job back when the version may be why it failed."""
        if self.trial is None or not self.trial.bad(claim.job.id, error):
            return False
        return self.put_back(claim, "it failed on a version that is on trial")


class _Member(NamedTuple):
    """An engine and what it takes its jobs through."""

    engine: Engine
    tap: Tap
    version: str


class Fleet:
    """Engines of one device, with an engine's interface.

    Args:
        tap: makes a store for one engine.
        seal, share_s: of each engine, see `Engine`.
        on_taken_back: told which version failed its trial, and why.
    """

    def __init__(
        self,
        tap: Callable[[], Tap],
        seal: Seal = unsealed,
        *,
        share_s: float = math.inf,
        on_taken_back: Callable[[str, str], None] = lambda _version, _reason: None,
    ) -> None:
        self._tap, self._seal, self._share_s = tap, seal, share_s
        self._on_taken_back = on_taken_back
        self._swapping, self._lock = threading.Lock(), threading.RLock()
        self._members: list[_Member] = []  # the last one takes jobs
        self._standby: _Member | None = None
        self._resting = False
        self._refused: dict[str, str] | None = None

    @property
    def version(self) -> str | None:
        """The version that takes jobs."""
        return self._members[-1].version if self._members else None

    def swap(self, load: Callable[[], Generates], version: str) -> None:
        """Serve that version from now on; at once, when it is the one that stands by.

        Raises:
            Exception: whatever `load` raised; what was served before is.
        """
        with self._swapping:
            if self._return_to(version):
                return
            tap = self._tap()
            engine = Engine(tap, load, version, seal=self._seal, share_s=self._share_s)
            try:
                engine.start()
            except Exception as error:
                self._refused = {"version": version, "reason": str(error)}
                raise
            self._take_on(_Member(engine, tap, version))

    def _take_on(self, new: _Member) -> None:
        with self._lock:
            older, self._standby = self._standby, self._members[-1] if self._members else None
            self._refused = None
            if self._standby is not None:
                new.tap.trial = Trial(partial(self._proven, new), partial(self._failed, new))
            self._put_first(new)
        if older is not None:
            self._drain(older)

    def _put_first(self, member: _Member) -> None:
        """It takes the jobs from now on, and no other does."""
        before = [each for each in self._members if each is not member]
        self._members = [*before, member]
        for each in before:
            each.tap.turn(on=False)
        member.tap.turn(on=not self._resting)
        member.engine.notify()

    def _return_to(self, version: str) -> bool:
        """To the version that stands by, if it is this one; the one on trial ends its jobs."""
        with self._lock:
            standby, tried = self._standby, self._members[-1] if self._members else None
            if standby is None or tried is None or standby.version != version:
                return False
            self._standby = self._refused = None
            self._put_first(standby)
        if tried.tap.trial is not None:
            tried.tap.trial.lose()
        self._drain(tried)
        return True

    def _proven(self, member: _Member) -> None:
        with self._lock:
            if self._members[-1] is not member or self._standby is None:
                return
            standby, self._standby = self._standby, None
        self._drain(standby)

    def _failed(self, member: _Member, reason: str) -> None:
        """Serve the version before it; the jobs that it has under way go back to the queue."""
        with self._lock:
            standby = self._standby
            if self._members[-1] is not member or standby is None:
                return
            self._standby = None
            reason = (
                f"{reason}; version {standby.version} is served again. If the registry still calls "
                f"version {member.version} the champion, `reel rollback` puts that right"
            )
            self._refused = {"version": member.version, "reason": reason}
            self._put_first(standby)
        log.error("version %s is taken back: %s", member.version, reason)
        # Not here: this may be a thread that the engine waits for when it stops.
        threading.Thread(target=self._remove, args=(member, reason), name="take-back").start()

    def _remove(self, member: _Member, reason: str) -> None:
        try:
            self._on_taken_back(member.version, reason)
        except Exception:
            log.exception("that version %s is taken back is not remembered", member.version)
        self._retire(member)

    def _drain(self, member: _Member) -> None:
        """Stop an engine that takes no more jobs when it has ended its own."""

        def drain() -> None:
            idle = threading.Event()
            while (state := member.engine.health())["healthy"] and state["busy"] is not None:
                idle.wait(LOOK_S)
            self._retire(member)
            log.info("version %s has ended its last job", member.version)

        threading.Thread(target=drain, name="drain", daemon=True).start()

    def _retire(self, member: _Member) -> None:
        member.engine.stop()
        with self._lock:
            self._members = [each for each in self._members if each is not member]

    def rest(self, *, on: bool) -> None:
        """Take no jobs for now, or take them again."""
        with self._lock:
            if self._resting != on:
                self._resting = on
                self._members[-1].tap.turn(on=not on)
                self.notify()

    def stop(self) -> None:
        """Stop them all; jobs under way go back to the queue."""
        for member in self._members:
            member.tap.turn(on=False)
            member.engine.stop()

    def notify(self) -> None:
        self._members[-1].engine.notify()

    def dropped(self, job_id: str) -> None:
        for member in self._members:
            member.engine.dropped(job_id)

    def has(self, job_id: str) -> bool:
        """Whether any of them works on the job."""
        return any(
            each.job.id == job_id for member in self._members for each in member.engine.attempts()
        )

    async def ended(self, job_id: str, within_s: float, *, follows: bool = False) -> bool:
        """Return when any of them has ended the job; see `Engine.ended`."""
        waits = [
            asyncio.ensure_future(member.engine.ended(job_id, within_s, follows=follows))
            for member in self._members
        ]
        done, late = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()
        return any(each.result() for each in done)

    def health(self) -> dict[str, Any]:
        """That of the engine that takes jobs.

        `ending` are versions before it that still have jobs, `standby` is the one that is kept
        until it is proven, `refused` the last one that could not be served or was taken back.
        """
        *before, taking = self._members
        others = [(member.version, member.engine.health()["busy"]) for member in before]
        standby = self._standby
        return {
            **taking.engine.health(),
            "ending": [version for version, busy in others if busy is not None],
            "standby": None if standby is None else standby.version,
            "refused": self._refused,
        }
