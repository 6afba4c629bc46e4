"""What an evaluation looks at. It changes no model, so it is no part of a model's recipe."""

from dataclasses import dataclass
from typing import Literal

Metric = Literal["frechet", "text", "consistency"]


@dataclass(frozen=True, kw_only=True)
class TaskRecipe:
    """A task is a pattern of what is given: latent frames at the clip's start and at its end, and a
    part of every frame.

    box: share of the sides of a box in the middle of each frame that is given; 0 gives none.
    outside: all but that box is given.
    """

    name: str
    first: int = 0
    last: int = 0
    box: float = 0.0
    outside: bool = False
    image: bool = False
    """Of the clip's first frame alone."""


TASKS = (
    TaskRecipe(name="text"),
    TaskRecipe(name="first_frame", first=1),
    TaskRecipe(name="head", first=2),
    TaskRecipe(name="tail", last=2),
    TaskRecipe(name="ends", first=1, last=1),
    TaskRecipe(name="inside", box=0.5, outside=True),
    TaskRecipe(name="outside", box=0.5),
    TaskRecipe(name="image", image=True),
)


@dataclass(frozen=True, kw_only=True)
class ExtractorRecipe:
    """Features of videos by a network whose weights somebody supplies; see `extractors.py`.

    path: "package.module:function", called with this recipe.
    weights: a safetensors file, or a folder, as the function wants it.
    """

    name: str
    path: str
    weights: str = ""
    model: str = ""
    metrics: tuple[Metric, ...] = ("frechet",)
    num_frames: int = 16
    """Frames that it is shown, evenly spaced."""
    side: int = 112
    """It is shown square pictures of this many pixels a side."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """How much is measured, and by whom."""

    oracle: str = ""
    """"package.module:function" that judges videos by their captions; see `oracles.py`."""
    clips: int = 256
    """Held-out clips, at most."""
    task_clips: int = 16
    """Of these, for the loss of each further task."""
    given_clips: int = 4
    """Of these, for how what each task gives comes back."""
    videos: int = 48
    """Videos made from the captions of held-out clips."""
    tasks: tuple[TaskRecipe, ...] = TASKS
    timesteps: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    rollouts: int = 3
    rollout_windows: int = 3
    extractors: tuple[ExtractorRecipe, ...] = ()
    seed: int = 0
