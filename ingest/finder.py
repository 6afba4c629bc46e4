"""All detectors that a recipe asks for, as one."""

from collections.abc import Iterable
from pathlib import Path

from infra.errors import InputError
from ingest.cascade import Cascade, NetworkDetector
from ingest.classical import CLASSICAL, ClassicalDetector
from ingest.cuts import CutDetector
from ingest.decode import Film, Image, UnreadableError, read_film
from ingest.gradual import DissolveDetector, FadeDetector
from ingest.recipe import ShotRecipe
from ingest.shots import Boundary, ShotDetector, decide
from ingest.transnet import check_installed, load_network

OURS = ("cut", "dissolve", "fade", "transnet")


class ShotFinder:
    """Sees every frame of one film in order; `finish` names the film's boundaries."""

    def __init__(self, recipe: ShotRecipe, fps: float) -> None:
        self._recipe = recipe
        self._detectors = detectors(recipe, fps)
        self._found: list[Boundary] = []

    def process(self, index: int, image_HWC: Image) -> None:
        """Look at frame `index` (small, BGR)."""
        for detector in self._detectors:
            self._found += detector.process(index, image_HWC)

    def finish(self) -> list[Boundary]:
        """The boundaries of the whole film, sorted and without contradictions."""
        return decide(self.candidates(), self._recipe)

    def candidates(self) -> list[Boundary]:
        """Everything that a detector took into consideration, with its evidence."""
        for detector in self._detectors:
            self._found += detector.finish()
        self._detectors = []
        return self._found


def check(recipe: ShotRecipe) -> None:
    """What would stop every film is said before the first is read.

    Raises:
        InputError: the recipe names a detector that does not exist, or one that is not installed.
    """
    unknown = [name for name in recipe.detectors if name not in (*OURS, *CLASSICAL)]
    if unknown:
        raise InputError(
            f"there is no shot detector {unknown[0]!r}; "
            f"the recipe may name {', '.join([*OURS, *CLASSICAL])}"
        )
    if recipe.cascade or "transnet" in recipe.detectors:
        check_installed()


def detectors(recipe: ShotRecipe, fps: float) -> list[ShotDetector]:
    """The recipe's detectors for one film of `fps` frames a second.

    Raises:
        InputError: the recipe names a detector that does not exist, or one that is not installed.
    """
    check(recipe)
    made = [_detector(name, recipe, fps) for name in recipe.detectors]
    return [Cascade(made, recipe, fps, load_network)] if recipe.cascade else made


def _detector(name: str, recipe: ShotRecipe, fps: float) -> ShotDetector:
    if name == "cut":
        return CutDetector(recipe)
    if name == "dissolve":
        return DissolveDetector(recipe, fps)
    if name == "fade":
        return FadeDetector(recipe, fps)
    if name == "transnet":
        return NetworkDetector(load_network())
    return ClassicalDetector(name, recipe.classical)


def find_shots(path: Path, recipe: ShotRecipe) -> tuple[Film, list[Boundary]]:
    """The film's facts and its boundaries; stores nothing.

    Raises:
        UnreadableError: the film cannot be read.
    """
    film, finder = _look(path, recipe)
    return film, finder.finish()


def first_frames(boundaries: Iterable[Boundary]) -> list[int]:
    """The first frame of each shot but the first; of a gradual, the first that is unmixed."""
    return [boundary.end for boundary in boundaries]


def find_candidates(path: Path, recipe: ShotRecipe) -> tuple[int, list[Boundary]]:
    """The film's number of frames, and all that detectors took into consideration.

    Raises:
        InputError: the film cannot be read.
    """
    try:
        film, finder = _look(path, recipe)
    except UnreadableError as error:
        raise InputError(f"{path}: {error.reason}") from error
    return len(film.pts), finder.candidates()


def _look(path: Path, recipe: ShotRecipe) -> tuple[Film, ShotFinder]:
    finder: ShotFinder | None = None
    film: Film | None = None
    for index, (film, image) in enumerate(read_film(path)):
        finder = finder or ShotFinder(recipe, film.nominal_fps)
        finder.process(index, image)
    assert film is not None and finder is not None, "read_film raises when there is no frame"
    return film, finder
