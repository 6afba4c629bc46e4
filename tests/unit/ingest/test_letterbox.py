import numpy as np
import pytest

from ingest.letterbox import BarMeter, Bars
from ingest.recipe import ScoreRecipe

SCENE = np.random.default_rng(0).integers(40, 220, (72, 96)).astype(np.uint8)


def boxed(picture: np.ndarray, top: int = 9, bottom: int = 9, left: int = 0) -> np.ndarray:
    frame = np.full((72, 96), 2, np.uint8)
    frame[top : 72 - bottom, left : 96 - left] = picture[top : 72 - bottom, left : 96 - left]
    return frame


def bars(*frames: np.ndarray) -> Bars:
    return meter_of(*frames).span(0, len(frames))


def meter_of(*frames: np.ndarray) -> BarMeter:
    meter = BarMeter(ScoreRecipe())
    for index, frame in enumerate(frames):
        meter.process(index, frame)
    return meter


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((9, 9, 0), (0.125, 0.125, 0, 0)),
        ((0, 0, 12), (0, 0, 0.125, 0.125)),
        ((9, 9, 12), (0.125, 0.125, 0.125, 0.125)),
        ((0, 0, 33), (0, 0, 0.3438, 0.3438)),
        ((0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_bars_of_each_side(sides: tuple[int, int, int], expected: Bars) -> None:
    assert bars(boxed(SCENE, *sides)) == expected


def test_a_dark_scene_has_no_bars_of_its_own() -> None:
    night = np.full((72, 96), 4, np.uint8)
    night[50:, 20:40] = 90  # a lit window
    skyline = np.full((72, 96), 4, np.uint8)
    for column in range(96):
        skyline[30 + column * 7 % 23 :, column] = 80
    assert bars(night) == bars(skyline) == (0, 0, 0, 0)
    assert bars(np.zeros((72, 96), np.uint8)) == (0, 0, 0, 0)


def test_a_dark_scene_of_a_film_with_bars_has_the_films() -> None:
    night = np.zeros_like(SCENE)
    night[40:44, 50:54] = 200
    film = meter_of(boxed(SCENE), boxed(night), boxed(night))
    assert film.span(1, 3) == (0.125, 0.125, 0, 0)


def test_a_scene_that_fills_the_picture_takes_no_bars_from_its_film() -> None:
    film = meter_of(boxed(SCENE), boxed(SCENE), SCENE)
    assert film.span(2, 3) == (0, 0, 0, 0)
    assert film.span(0, 2) == (0.125, 0.125, 0, 0)


def test_words_in_a_bar_end_it_and_grain_does_not() -> None:
    titled, grainy = boxed(SCENE), boxed(SCENE)
    titled[66:68, 30:60] = 200
    grainy[68, 17] = 40
    assert bars(titled)[1] < 0.125
    assert bars(grainy) == (0.125, 0.125, 0, 0)


def test_a_round_thing_on_black_is_in_no_box() -> None:
    rows, columns = np.mgrid[0:72, 0:96]
    disc = np.where((rows - 36) ** 2 + (columns - 48) ** 2 < 15**2, 200, 0).astype(np.uint8)
    assert bars(disc) == (0, 0, 0, 0)


def test_a_span_without_a_look_has_the_bars_of_the_film() -> None:
    meter = BarMeter(ScoreRecipe())
    meter.process(0, boxed(SCENE))
    assert meter.span(3, 9) == (0.125, 0.125, 0, 0)
