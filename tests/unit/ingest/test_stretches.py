import numpy as np
import pytest

from ingest.recipe import ScoreRecipe
from ingest.scores import ScoreMeter
from ingest.stretches import StretchMeter

FPS = 24
SCENE = np.random.default_rng(0).integers(60, 200, (72, 96)).astype(np.uint8)
BLACK = np.zeros((72, 96), np.uint8)


def measured(frames: list[np.ndarray], times_s: np.ndarray | None = None) -> dict[str, float]:
    return meter_of(frames).span(0, len(frames), clock(frames) if times_s is None else times_s)


def meter_of(frames: list[np.ndarray]) -> StretchMeter:
    meter, last = StretchMeter(ScoreRecipe()), frames[0]
    for frame in frames:
        change = float(np.abs(frame.astype(float) - last).mean())
        meter.process(np.ascontiguousarray(frame), float(frame.mean()), change)
        last = frame
    return meter


def clock(frames: list[np.ndarray]) -> np.ndarray:
    return np.arange(len(frames) + 1) / FPS


def moving(count: int) -> list[np.ndarray]:
    return [np.roll(SCENE, 3 * step, axis=1) for step in range(count)]


def test_a_picture_that_stands_still_for_a_while() -> None:
    found = measured([*moving(24), *[SCENE] * 48, *moving(24)[1:]])
    assert found["static_longest_s"] == pytest.approx(2.0)
    assert found["static_share"] == pytest.approx(48 / 95, abs=0.001)
    assert found["black_share"] == 0


def test_what_the_codec_and_the_sensor_add_is_no_change() -> None:
    rng = np.random.default_rng(1)
    noisy = [np.uint8(np.clip(SCENE + rng.normal(0, 0.5, SCENE.shape), 0, 255)) for _ in range(48)]
    assert measured(noisy)["static_share"] == 1


def test_a_small_thing_that_moves_is_change() -> None:
    frames = [SCENE.copy() for _ in range(48)]
    for step, frame in enumerate(frames):
        frame[30:36, step : step + 6] = 255  # half a percent of the picture
    assert measured(frames)["static_share"] == 0


def test_a_slow_drift_is_change() -> None:
    ramp = np.tile(np.linspace(20, 220, 96), (72, 1))
    frames = [np.uint8(ramp + step * 0.25) for step in range(96)]
    assert measured(frames)["static_share"] == 0


def test_films_that_hold_each_frame_twice_are_not_static() -> None:
    assert measured([frame for frame in moving(24) for _ in range(2)])["static_share"] == 0


def test_a_frame_counts_as_long_as_it_is_shown() -> None:
    frames = [*moving(3), BLACK, SCENE]
    times = np.array([0.0, 0.1, 0.2, 0.3, 4.3, 4.4])
    found = measured(frames, times)
    assert (found["black_longest_s"], found["static_longest_s"]) == (4.0, 4.0)
    assert found["black_share"] == pytest.approx(4 / 4.4, abs=1e-3)


def test_black_may_hold_a_speck_of_light_and_a_dark_scene_is_not_black() -> None:
    speck = np.full((72, 96), 12, np.uint8)
    speck[10:16, 10:16] = 255
    night = np.full((72, 96), 12, np.uint8)
    night[10:30, 10:30] = 60
    frames = [*[speck] * 12, *[night] * 12, *[speck] * 24]
    found = measured(frames)
    assert found["black_longest_s"] == 1.0
    assert found["black_share"] == 0.75


def test_a_span_knows_only_its_own_part_of_a_stretch() -> None:
    frames = [SCENE] * 96
    found = meter_of(frames).span(60, 84, clock(frames))
    assert (found["static_longest_s"], found["static_share"]) == (1.0, 1.0)


def test_lost_shadows_and_lights_are_shares_of_the_picture_inside_its_bars() -> None:
    frame = np.full((72, 96, 3), 120, np.uint8)
    frame[:18] = 0  # a bar
    frame[18:27, :48] = 255
    frame[63:] = 0
    frame[63:, ::2] = 90
    meter = ScoreMeter(FPS)
    for index in range(24):
        meter.process(index, frame)
    found = meter.span(0, 24, np.arange(25) / FPS)
    assert (found["bar_top_share"], found["bar_bottom_share"]) == (0.25, 0)
    assert found["blown_share"] == pytest.approx(9 * 48 / (54 * 96), abs=1e-4)
    assert found["crushed_share"] == pytest.approx(9 * 48 / (54 * 96), abs=1e-4)
