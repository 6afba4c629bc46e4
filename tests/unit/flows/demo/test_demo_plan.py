import itertools
from collections import Counter
from dataclasses import astuple

import numpy as np

from flows.demo.plan import FORMATS, Film, Shot, plan_films, seen_attributes, unseen_attributes
from flows.demo.scene import all_attributes, position

PLANS = plan_films(120, seed=3)


def test_the_unseen_set_leaves_every_value_and_pair_in_the_films() -> None:
    unseen, seen = unseen_attributes(), seen_attributes()
    assert len(set(unseen)) == 24
    assert set(unseen) | set(seen) == set(all_attributes())
    for first, second in itertools.combinations(range(5), 2):
        pairs = Counter((astuple(a)[first], astuple(a)[second]) for a in unseen)
        possible = {(astuple(a)[first], astuple(a)[second]) for a in all_attributes()}
        kept = {(astuple(a)[first], astuple(a)[second]) for a in seen}
        assert kept == possible
        assert max(pairs.values()) - min(pairs[p] for p in possible) <= 2  # spread evenly


def test_films_never_show_an_unseen_combination_and_show_the_rest_evenly() -> None:
    shown = Counter(shot.scene.attributes for film in PLANS for shot in film.shots)
    assert set(shown) == set(seen_attributes())
    assert max(shown.values()) <= 2 * min(shown.values())


def test_neighbours_look_different() -> None:
    for film in PLANS:
        for (before, after), (_, end) in zip(
            itertools.pairwise(film.shots), film.spans(), strict=False
        ):
            old, new = before.scene.attributes, after.scene.attributes
            if old.background != new.background:
                continue
            assert old.color != new.color, (film.path, end)
            assert _apart(film, before, after) > 0.25


def _apart(film: Film, before: Shot, after: Shot) -> float:
    size = np.asarray([film.width, film.height])
    old = position(before.scene, before.num_frames / film.fps, film.height, film.width)
    way = np.subtract(old, position(after.scene, 0, film.height, film.width))
    return float(np.hypot(*((way + size / 2) % size - size / 2)) / size.min())


def test_lengths_kinds_and_formats_are_as_promised() -> None:
    kinds = Counter(t.kind for film in PLANS for t in film.transitions)
    assert 0.53 < kinds["cut"] / kinds.total() < 0.67
    assert {len(film.shots) for film in PLANS} == set(range(4, 13))
    for film in PLANS:
        assert all(1.25 <= shot.num_frames / film.fps <= 2.45 for shot in film.shots)
        assert all(
            t.num_frames == 0 if t.kind == "cut" else 8 <= t.num_frames <= 16
            for t in film.transitions
        )
    captioned = Counter((film.path.rsplit(".", 1)[1], film.codec, film.captioned) for film in PLANS)
    for container, codec in FORMATS:
        assert captioned[container, codec, True] == 10
        assert captioned[container, codec, False] == 20


def test_spans_and_boundaries_tile_the_film() -> None:
    for film in PLANS:
        spans, boundaries = list(film.spans()), list(film.boundaries())
        assert spans[0][0] == 0
        assert spans[-1][1] == film.num_frames
        for (_, end), (_, first, last), (start, _) in zip(
            spans, boundaries, spans[1:], strict=False
        ):
            assert (end, start) == (first, last)


def test_a_plan_depends_on_its_seed_only() -> None:
    assert plan_films(24, seed=5) == plan_films(24, seed=5)
    assert plan_films(24, seed=5) != plan_films(24, seed=6)
    assert len({film.path for film in PLANS}) == 120
