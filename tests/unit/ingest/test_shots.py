from pathlib import Path

import numpy as np
import pytest

from ingest.finder import ShotFinder
from ingest.recipe import ShotRecipe
from ingest.shots import Boundary, divide, merge, spans
from tests.unit.ingest.footage import FPS, Frames, decode, join, shot, write


def detect(frames: Frames) -> list[Boundary]:
    finder = ShotFinder(ShotRecipe(), FPS)
    for index, image in enumerate(frames):
        finder.process(index, np.ascontiguousarray(image[..., ::-1]))
    return finder.finish()


def test_cuts_are_found_at_the_first_frame_of_the_new_shot() -> None:
    frames = join([shot(1, 30), shot(2, 41), shot(3, 30)], [("cut", 0)] * 2)
    assert detect(frames) == [Boundary(30, 30, "cut"), Boundary(71, 71, "cut")]


def test_a_cut_that_changes_only_a_small_object_is_found() -> None:
    frames = np.full((60, 96, 128, 3), 120, np.uint8)
    for number in range(30):
        frames[number, 20:45, 10 + number : 35 + number] = (200, 60, 60)
        frames[30 + number, 50:75, 60 - number : 85 - number] = (60, 60, 200)
    assert detect(frames) == [Boundary(30, 30, "cut")]


@pytest.mark.parametrize("kind", ["dissolve", "fade"])
@pytest.mark.parametrize("length", [8, 12, 16, 36])
def test_gradual_transitions_are_found_whole(kind: str, length: int) -> None:
    frames = join([shot(1, 60), shot(2, 60 + length)], [(kind, length)])
    (found,) = detect(frames)
    assert found.kind == "gradual"
    assert abs(found.start - (60 - length)) <= 2
    assert abs(found.end - 60) <= 2


def slider(color: tuple[int, int, int], top: int, left: int, step: int) -> Frames:
    """Seventy frames of a block that slides over one background, always the same."""
    frames = np.full((70, 96, 128, 3), (40, 44, 60), np.uint8)
    for number in range(70):
        at = left + step * number
        frames[number, top : top + 30, at : at + 28] = color
    return frames


def test_a_dissolve_between_shots_of_one_background_is_found() -> None:
    old, new = slider((220, 60, 60), 15, 10, 1), slider((60, 90, 230), 40, 95, -1)
    (found,) = detect(join([old[:50], new[:62]], [("dissolve", 12)]))
    assert (found.kind, abs(found.start - 38) <= 2) == ("gradual", True)


def test_a_faint_dissolve_shortly_before_a_strong_one_is_found() -> None:
    old, new = slider((220, 60, 60), 15, 10, 1), slider((60, 90, 230), 40, 95, -1)
    films = [old[:50], new[:54], shot(2, 60)]
    faint, strong = detect(join(films, [("dissolve", 12)] * 2))
    assert abs(faint.start - 38) <= 2
    assert abs(strong.start - 80) <= 2


def test_a_heavily_compressed_film_has_no_gradual_in_its_artefacts(tmp_path: Path) -> None:
    frames = join([shot(31, 40), shot(32, 40)], [("cut", 0)])
    path = write(tmp_path / "coarse.mp4", frames, options={"crf": "40"})
    assert detect(decode(path)) == [Boundary(40, 40, "cut")]


def test_a_flash_is_no_cut() -> None:
    for start, end in ((30, 32), (58, 60)):  # the film may end before the flash does
        frames = shot(5, 60)
        frames[start:end] = 255
        assert detect(frames) == []


def test_a_tint_that_goes_as_the_film_begins_is_no_transition() -> None:
    frames = shot(5, 60).astype(np.float32)
    tint = np.array([160, 20, 20], np.float32)
    for number in range(10):
        share = 0.7 * (1 - number / 10)
        frames[number] = frames[number] * (1 - share) + tint * share
    assert detect(frames.astype(np.uint8)) == []


def test_a_slow_pan_over_a_picture_is_no_transition() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (12, 40, 3)).astype(np.float32)
    wide = np.kron(noise, np.ones((8, 8, 1), np.float32))
    smooth = sum(np.roll(wide, step, axis=1) for step in range(8)) / 8
    frames = np.stack([smooth[:, number : number + 128] for number in range(150)])
    assert detect(frames.astype(np.uint8)) == []


def test_a_dark_shot_between_bright_ones_is_no_fade() -> None:
    bright, dark = shot(7, 40) // 4 + 190, shot(8, 40) // 8
    found = detect(join([bright, dark, bright], [("cut", 0)] * 2))
    assert found == [Boundary(40, 40, "cut"), Boundary(80, 80, "cut")]


def test_a_cut_at_the_edge_of_a_gradual_outranks_it() -> None:
    movement = Boundary(32, 60, "gradual")
    assert merge([Boundary(30, 30, "cut"), movement]) == [Boundary(30, 30, "cut")]
    assert merge([Boundary(45, 45, "cut"), movement]) == [movement]


def test_transition_frames_belong_to_no_shot() -> None:
    boundaries = [Boundary(10, 18, "gradual"), Boundary(30, 30, "cut")]
    assert spans(boundaries, 50) == [(0, 10), (18, 30), (30, 50)]


def test_a_long_shot_is_divided_evenly_by_time() -> None:
    times_s = np.arange(601) / 24
    assert divide(0, 600, times_s, 10.0) == [0, 200, 400, 600]
    assert divide(0, 240, times_s, 10.0) == [0, 240]
