"""Shapes on plain backgrounds look much alike; few of them are the same scene in two films."""

import numpy as np

from captioning.descriptor import signature
from captioning.frames import squeeze
from captioning.near_duplicates import Clip, find_pairs, groups
from captioning.recipe import CocaRecipe, LikenessRecipe
from flows.demo.plan import plan_films
from flows.demo.scene import Attributes, render_frames

CELL = CocaRecipe().cell


def test_few_scenes_of_the_demo_count_as_the_same() -> None:
    clips: list[Clip] = []
    shows: dict[str, Attributes] = {}
    for film in plan_films(30, seed=0):
        for number, shot in enumerate(film.shots):
            clip_id = f"{film.path} {number}"
            times_s = np.arange(0, shot.num_frames / film.fps, 0.1)
            frames = render_frames(
                shot.scene, times_s.tolist(), CELL, CELL * film.width // film.height
            )
            seen = signature(squeeze(frames, CELL))
            clips.append(Clip(clip_id=clip_id, source_id=film.path, signature=seen))
            shows[clip_id] = shot.scene.attributes
    pairs = find_pairs(clips, [], LikenessRecipe())
    found = groups(pairs)
    assert len(clips) > 200
    assert sum(map(len, found)) < 0.05 * len(clips)
    assert all(len(group) <= 3 for group in found)
    for group in found:
        assert len({(shows[name].background, shows[name].color) for name in group}) == 1
