"""What a kind of workflow is: a plan's model, its shots, and the files made of finished takes.

A kind is a module-level object that fits `Deliverable`, named in `KINDS`. Its `files` is a pure
function of the plan and a folder of takes: it needs no model, no database and no network, and is
run in a process of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from serving.workflows.plan import Plan, Shot

KINDS: Mapping[str, str] = {
    "storyboard": "serving.workflows.storyboard:storyboard",
    "game": "serving.workflows.game:game",
    "lesson": "serving.workflows.lesson.delivery:LESSON",
    "campaign": "serving.workflows.campaign.delivery:CAMPAIGN",
}


@dataclass(frozen=True, kw_only=True)
class Take:
    """A finished take of a shot.

    path: its MP4 or PNG. name: that file below the bundle's top, `takes/{shot}-{number}.mp4`.
    parent: the take whose last frame it began with, as `shot/number`.
    """

    shot: str
    number: int
    prompt: str
    seed: int
    path: Path
    name: str
    sha256: str
    job_id: str
    model_version: str
    parent: str | None = None


Seal = Callable[[Sequence[Path]], None]


@dataclass(frozen=True, kw_only=True)
class Takes:
    """All finished takes by shot, in order, which of them is chosen, and the plan's assets.

    assets: PNG files by name; they keep their transparency. fonts: files by name.
    approved_by: who reviewed these takes and released them, or "".
    seal: signs files now. All of the folder is signed in the end; what goes into a package is
        signed before it does.
    """

    takes: Mapping[str, Sequence[Take]]
    choices: Mapping[str, int]
    assets: Mapping[str, Path] = field(default_factory=dict)
    fonts: Mapping[str, Path] = field(default_factory=dict)
    approved_by: str = ""
    seal: Seal = lambda _paths: None

    def chosen(self, shot_id: str) -> Take:
        """The take that the deliverable shows."""
        number = self.choices[shot_id]
        return next(take for take in self.takes[shot_id] if take.number == number)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was measured of the files, and sentences that a person should read."""

    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Deliverable(Protocol):
    """A kind of workflow."""

    kind: str

    @property
    def plan_model(self) -> type[Plan]:
        """The model of its plans."""

    def shots(self, plan: Any) -> Sequence[Shot]:
        """What has to be generated, parents before their children.

        Raises:
            PlanError: the plan contradicts itself.
        """

    def files(self, plan: Any, takes: Takes, folder: Path) -> Findings:
        """Write everything that is delivered into `folder`, which is empty.

        Sub-folders are welcome; `takes/` and `manifest.json` are added by the caller.

        Raises:
            InputError: the takes cannot be made into it; the message is shown to the user.
        """

    def counts(self, plan: Any) -> Mapping[str, int]:
        """What an estimate lists beside the generations, such as {"composites": 12}."""


@runtime_checkable
class Checked(Protocol):
    """A deliverable that can tell from the plan and its assets alone that it cannot be made."""

    def needs_child(self, plan: Any) -> bool:
        """Whether `check` takes long or opens files that users sent."""

    def check(self, plan: Any, takes: Takes) -> None:
        """Called before anything is generated, in a process under limits if it needs one; there
        are no takes.

        Raises:
            PlanError: some field cannot be used.
        """


def find_kind(kind: str) -> Deliverable | None:
    """The deliverable of that name; its libraries are imported now."""
    place = KINDS.get(kind)
    if place is None:
        return None
    module, _, name = place.partition(":")
    found: Deliverable = getattr(import_module(module), name)
    return found
