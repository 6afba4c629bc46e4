from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from infra.errors import InputError
from ingest import transnet
from ingest.cascade import STEP, WINDOW, Cascade, NetworkDetector
from ingest.classical import CLASSICAL
from ingest.cuts import CutDetector
from ingest.finder import ShotFinder
from ingest.recipe import ShotRecipe
from ingest.shots import Boundary, Image, ShotDetector, decide
from ingest.transnet import Chances, boundaries_of
from tests.unit.ingest.footage import FPS, Frames, join, shot


def bgr(frames: Frames) -> list[Image]:
    return [np.ascontiguousarray(image[..., ::-1]) for image in frames]


class Seer:
    """A network that knows cuts by how bright the frame after it is, and counts what it sees."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, images: Sequence[Image]) -> tuple[Chances, Chances]:
        self.seen.append(len(images))
        means = np.array([image.mean() for image in images])
        single = np.append(np.abs(np.diff(means)) > 20, False).astype(np.float64)
        return single, single


class Proposer(ShotDetector):
    """Proposes what it is told once it has seen enough frames."""

    def __init__(self, *proposed: Boundary) -> None:
        self._proposed = proposed

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        return [b for b in self._proposed if b.end + 4 == index]


def steps(*edges: int, num_frames: int = 300) -> list[Image]:
    """Plain frames that turn from dark to bright and back at each edge."""
    bright = np.searchsorted(edges, np.arange(num_frames), side="right") % 2
    return [np.full((72, 96, 3), 60 + 100 * level, np.uint8) for level in bright]


def run(detector: ShotDetector, images: Sequence[Image]) -> list[Boundary]:
    found = [b for index, image in enumerate(images) for b in detector.process(index, image)]
    return found + detector.finish()


def candidate(at: int, times: float) -> Boundary:
    """A cut whose evidence reaches so many times the recipe's threshold."""
    return Boundary(at, at, "cut", {"cut_ratio": times * ShotRecipe().cut_ratio})


def test_network_alone_sees_every_frame_of_films_of_any_length() -> None:
    for num_frames in (1, 49, 50, 51, 149, 300):
        network = Seer()
        edges = [edge for edge in (30, 100, 101 + STEP, 299) if edge < num_frames]
        found = run(NetworkDetector(network), steps(*edges, num_frames=num_frames))
        assert [b.start for b in found] == edges
        assert set(network.seen) == {WINDOW}
        assert len(network.seen) == -(-num_frames // STEP)


def test_cascade_asks_only_about_what_is_unsure() -> None:
    network, recipe = Seer(), ShotRecipe(cascade=True, unsure_from=0.6, sure_from=1.6)
    sure, right, wrong, hopeless = (
        candidate(50, 9.0), candidate(99, 0.9), candidate(200, 1.1), candidate(250, 0.1)
    )  # fmt: skip
    proposer = Proposer(sure, right, wrong, hopeless)
    found = run(Cascade([proposer], recipe, FPS, lambda: network), steps(100))
    assert decide(found, recipe) == [Boundary(50, 50, "cut"), Boundary(100, 100, "cut")]
    assert network.seen == [recipe.network_frames] * 2


def test_a_film_without_doubts_loads_no_network() -> None:
    def refuse() -> Seer:
        raise AssertionError("loaded")

    run(Cascade([Proposer(candidate(50, 9.0))], ShotRecipe(), FPS, refuse), steps(50))


def test_cascade_answers_at_the_ends_of_a_film() -> None:
    network = Seer()
    cascade = Cascade([Proposer(candidate(3, 0.9), candidate(56, 0.9))], ShotRecipe(), FPS,
                      lambda: network)  # fmt: skip
    found = run(cascade, steps(3, 57, num_frames=61))
    assert [b.start for b in found] == [3, 57]


def test_chances_become_cuts_and_graduals() -> None:
    single, many = np.zeros(60), np.zeros(60)
    single[9] = many[9] = many[10] = 0.9
    single[[30, 33]], many[25:41] = 0.8, 0.7
    assert boundaries_of(single, many, 1000) == [
        Boundary(1010, 1010, "cut"),
        Boundary(1025, 1041, "gradual"),
    ]


@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "threshold"])
def test_classical_detectors_can_be_chosen(name: str) -> None:
    frames = join([shot(1, 40), shot(2, 40)], [("cut", 0)])
    finder = ShotFinder(ShotRecipe(detectors=(name,)), FPS)
    for index, image in enumerate(bgr(frames)):
        finder.process(index, image)
    assert finder.finish() == [Boundary(40, 40, "cut")]


def test_classical_threshold_finds_a_fade() -> None:
    frames = join([shot(1, 60), shot(2, 60)], [("fade", 15)])
    finder = ShotFinder(ShotRecipe(detectors=("threshold",)), FPS)
    for index, image in enumerate(bgr(frames)):
        finder.process(index, image)
    (found,) = finder.finish()
    assert 45 <= found.start <= 60


def test_unknown_detector_is_named_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"no shot detector 'magic'.*cut, dissolve.*histogram"):
        ShotFinder(ShotRecipe(detectors=("magic",)), FPS)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transnet, "PACKAGE", "transnetv2_missing")
    for recipe in (ShotRecipe(detectors=("transnet",)), ShotRecipe(cascade=True)):
        with pytest.raises(InputError, match=r"install reelwright\[transnet\]"):
            ShotFinder(recipe, FPS)


def test_thresholds_apply_after_the_film_was_seen() -> None:
    images = bgr(join([shot(1, 30), shot(2, 30)], [("cut", 0)]))
    recipe = ShotRecipe()
    candidates = run(CutDetector(recipe), images)
    assert [b.start for b in decide(candidates, recipe)] == [30]
    assert decide(candidates, replace(recipe, cut_min_score=200.0)) == []
