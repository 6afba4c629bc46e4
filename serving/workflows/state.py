"""How far a workflow is: its shots, their takes, and which of them are chosen. Pure data.

    planned ──▶ queued ──▶ in_progress ──▶ completed | failed

A take's key is fixed before its job is submitted, so a take that was submitted by a process that
died is found again, not made again. Equal takes have equal keys: an edited plan makes only the
shots anew that it changed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from serving.workflows.plan import MAX_TAKES, Plan, PlanError, Shot, take_seed, whole_prompt

MAX_RETAKES = 50
ENDED = ("completed", "failed")


class TakeState(BaseModel):
    """One take. `parent` is `shot/number`; `file` is below the workflow's folder."""

    number: int
    seed: int
    prompt: str
    status: str = "planned"
    key: str = ""
    job_id: str = ""
    model_version: str = ""
    parent: str | None = None
    progress: int = 0
    file: str = ""
    sha256: str = ""
    error: str = ""
    device_s: float = 0.0


class ShotState(BaseModel):
    """A shot's takes; `seconds` and `parent` are the plan's. `wanted`: the take that a retake asked
    for is chosen when it is finished."""

    id: str
    seconds: float | None = None
    parent: str | None = None
    takes: list[TakeState]
    chosen: int | None = None
    wanted: int | None = None

    def take(self, number: int) -> TakeState | None:
        return next((take for take in self.takes if take.number == number), None)

    @property
    def ended(self) -> bool:
        return all(take.status in ENDED for take in self.takes)

    def settle(self) -> bool:
        """Choose a take if there is one to choose; True when the choice changed."""
        before = self.chosen
        finished = [take.number for take in self.takes if take.status == "completed"]
        if self.wanted in finished:
            self.chosen, self.wanted = self.wanted, None
        elif self.chosen is None and self.ended and finished:
            self.chosen = finished[0]
        return self.chosen != before


class File(BaseModel):
    """A delivered file."""

    name: str
    media_type: str
    bytes: int
    sha256: str


class State(BaseModel):
    """revision: counts changes of what is shown; `built` is the one that the files are of."""

    shots: list[ShotState] = []
    revision: int = 1
    built: int = 0
    files: list[File] = []
    metrics: dict[str, Any] = {}
    notes: list[str] = []
    waiting: str = ""
    approved_by: str = ""
    queued_device_s: float = 0.0

    def shot(self, shot_id: str) -> ShotState:
        """Raises PlanError when there is no such shot."""
        for shot in self.shots:
            if shot.id == shot_id:
                return shot
        known = ", ".join(shot.id for shot in self.shots[:20])
        raise PlanError("shot", f"{shot_id[:40]!r} does not exist; the shots are {known}")

    def all_takes(self) -> Iterator[tuple[ShotState, TakeState]]:
        for shot in self.shots:
            for take in shot.takes:
                yield shot, take

    @property
    def progress(self) -> int:
        """A whole percentage over all takes."""
        parts = [100 if t.status in ENDED else t.progress for _, t in self.all_takes()]
        return int(sum(parts) / max(len(parts), 1))

    def is_stale(self, shot: ShotState) -> bool:
        """Whether the chosen take begins with a frame of a take that is chosen no more."""
        take = None if shot.chosen is None else shot.take(shot.chosen)
        if take is None or take.parent is None or shot.parent is None:
            return False
        return take.parent != f"{shot.parent}/{self.shot(shot.parent).chosen}"


def new_state(plan: Plan, shots: Sequence[Shot]) -> State:
    """Every take planned."""
    return State(
        shots=[
            ShotState(
                id=shot.id,
                seconds=None if shot.picture else shot.seconds,
                parent=shot.parent,
                takes=[
                    TakeState(
                        number=number,
                        seed=take_seed(plan, shot, number),
                        prompt=whole_prompt(plan, shot),
                    )
                    for number in range(1, min(shot.takes, MAX_TAKES) + 1)
                ],
            )
            for shot in shots
        ]
    )


def retake(
    state: State, plan: Plan, shots: Sequence[Shot], shot_id: str, *, seed: int | None, prompt: str,
    cascade: bool,
) -> None:  # fmt: skip
    """Plan one more take of a shot, chosen once it is finished; with `cascade`, then also of the
    shots that continue from it.

    Raises:
        PlanError: no such shot, or too many takes.
    """
    found = state.shot(shot_id)
    if len(found.takes) >= MAX_RETAKES:
        raise PlanError("shot", f"{shot_id!r} has {len(found.takes)} takes; choose one of them")
    again = {shot_id}
    for shot in shots:
        if cascade and shot.parent in again:
            again.add(shot.id)
    for shot in shots:
        if shot.id not in again:
            continue
        entry, number = state.shot(shot.id), state.shot(shot.id).takes[-1].number + 1
        first = shot.id == shot_id
        entry.takes.append(
            TakeState(
                number=number,
                seed=seed if first and seed is not None else take_seed(plan, shot, number),
                prompt=prompt if first and prompt else entry.takes[-1].prompt,
            )
        )
        entry.wanted = number
    state.waiting = state.approved_by = ""


def choose(state: State, shot_id: str, number: int) -> None:
    """Show another finished take.

    Raises:
        PlanError: no such shot, or no such finished take.
    """
    shot = state.shot(shot_id)
    take = shot.take(number)
    if take is None or take.status != "completed":
        finished = [str(t.number) for t in shot.takes if t.status == "completed"]
        raise PlanError(
            "take", f"{number} of {shot_id!r} is not finished; finished: {', '.join(finished)}"
        )
    if shot.chosen != number:
        shot.chosen, shot.wanted = number, None
        state.revision += 1
        state.approved_by = ""


def ready(state: State, shots: Sequence[Shot]) -> Iterator[tuple[Shot, ShotState, TakeState]]:
    """Takes that can be submitted now: nothing that they begin with is still being made."""
    for shot in shots:
        entry = state.shot(shot.id)
        for take in entry.takes:
            if take.status != "planned":
                continue
            parent = None if shot.parent is None else state.shot(shot.parent)
            if parent is None or (parent.chosen is not None and parent.ended):
                yield shot, entry, take


def take_key(owner: str, version: str, plan: Plan, shot: Shot, take: TakeState, begins: str) -> str:
    """The idempotency key of a take: everything that decides its picture, and whose it is.

    begins: the hash of what its first frame is taken from, or "".
    """
    content = [
        "take", owner, version, take.prompt, take.seed, begins, shot.size or plan.size,
        shot.fps or plan.fps, shot.seconds, shot.picture, shot.loop, plan.steps, plan.guidance,
        shot.negative_prompt or plan.negative_prompt,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def rekeyed(key: str, failed_job_id: str) -> str:
    """The key of another try at a take whose job under `key` failed; the same after a crash."""
    return hashlib.sha256(f"{key}/{failed_job_id}".encode()).hexdigest()
