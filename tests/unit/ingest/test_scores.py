import numpy as np
import pytest

from ingest.scores import ScoreMeter, camera_in_words

FPS = 24


def facts(frames: np.ndarray) -> dict[str, object]:
    meter = ScoreMeter(FPS)
    for index, image in enumerate(frames):
        meter.process(index, np.ascontiguousarray(image[..., ::-1]))
    result: dict[str, object] = meter.span(0, len(frames), np.arange(len(frames) + 1) / FPS)[
        "facts"
    ]
    return result


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A large textured picture to move a camera over, (288, 384, 3)."""
    coarse = np.random.default_rng(0).integers(40, 216, (48, 64, 3))
    return np.kron(coarse, np.ones((6, 6, 1))).astype(np.uint8)


@pytest.mark.parametrize(
    ("step", "name"),
    [((0, 0), "static"), ((0, 1), "pan right"), ((0, -1), "pan left"),
     ((1, 0), "tilt down"), ((-1, 0), "tilt up")],
)  # fmt: skip
def test_camera_movement_has_the_cameras_direction(
    picture: np.ndarray, step: tuple[int, int], name: str
) -> None:
    tops = 100 + step[0] * np.arange(48)
    lefts = 140 + step[1] * np.arange(48)
    frames = [picture[t : t + 72, x : x + 96] for t, x in zip(tops, lefts, strict=True)]
    assert facts(np.stack(frames))["camera"] == name


def test_an_object_that_moves_is_no_camera() -> None:
    frames = np.full((48, 72, 96, 3), 120, np.uint8)
    for number in range(48):
        frames[number, 20:50, number : number + 30] = (220, 40, 40)
    found = facts(frames)
    assert found["camera"] == "static"
    assert found["colors"] == ["gray", "red"]


def test_zoom_and_shake_are_told_apart() -> None:
    steady = np.array([(0.0, 0.0, 0.2)] * 8)
    shaken = np.array([((-1) ** number * 0.4, 0.1, 0.0) for number in range(8)])
    assert camera_in_words(steady) == "zoom in"
    assert camera_in_words(shaken) == "handheld"
    assert camera_in_words(np.full((8, 3), np.nan)) == "static"


def test_light_and_tempo_follow_the_picture() -> None:
    dark = np.full((48, 72, 96, 3), 20, np.uint8)
    assert facts(dark)["light"] == "dark"
    assert facts(dark)["tempo"] == "still"
    flicker = np.full((48, 72, 96, 3), 200, np.uint8)
    flicker[::2] = 160
    assert facts(flicker)["light"] == "bright"
    assert facts(flicker)["tempo"] == "fast"


def test_the_cut_before_a_span_is_not_its_motion() -> None:
    meter = ScoreMeter(FPS)
    for index in range(48):
        meter.process(index, np.full((72, 96, 3), 250 if index >= 24 else 5, np.uint8))
    assert meter.span(24, 48, np.arange(49) / FPS)["motion"] == 0
