"""How well and how fast shots are found: `python -m tests.benchmarks.data.shots [FOLDER]`.

Figures come from the held-out half of `footage`; thresholds were chosen on the other.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from flows.demo.truth import Detection, boundary_f1
from infra.errors import InputError
from ingest.finder import find_shots
from ingest.recipe import ShotRecipe
from tests.benchmarks.data.footage import Labels, write_films, write_games
from tests.benchmarks.data.material import HELD_OUT

Figures = dict[str, dict[str, Any]]

NETWORK_FILMS = 6  # the network alone sees some 50 frames a second
FOLDER = Path(".reel/bench/footage")
ALONE = ShotRecipe(detectors=("transnet",))
CASCADE = ShotRecipe(cascade=True)


def figures(folder: Path = FOLDER) -> Figures:
    """All five figures of shots: {key: {"value", "target", "better", "n", "note"}}."""
    return {**accuracy(folder), **flashes(folder), **network(folder)}


def accuracy(folder: Path, half: str = HELD_OUT) -> Figures:
    """`shot_f1_cut` and `shot_f1_gradual`, without the network."""
    labels = write_films(folder / half, folder / "material", half)
    totals, _ = judge(folder / half, labels, ShotRecipe())
    return {
        f"shot_f1_{kind}": _figure(total.f1, target, "higher", total.hits + total.missed, total)
        for (kind, total), target in zip(totals.items(), (0.94, 0.65), strict=True)
    }


def flashes(folder: Path, half: str = HELD_OUT) -> Figures:
    """`false_cuts_per_min` on games that never leave their picture."""
    games = write_games(folder / f"{half}_games", folder / "material", half)
    found, seconds, where = 0, 0.0, []
    for name in games:
        film, boundaries = find_shots(folder / f"{half}_games" / name, ShotRecipe())
        found += len(boundaries)
        seconds += film.duration_s
        where += [f"{len(boundaries)} in {name}"] if boundaries else []
    note = f"{found} false boundaries in {seconds / 60:.1f} minutes; {', '.join(where)}"
    return {"false_cuts_per_min": _figure(60 * found / seconds, 0.3, "lower", len(games), note)}


def network(folder: Path, half: str = HELD_OUT) -> Figures:
    """`shot_f1_cascade_minus_transnet` and `transnet_over_cascade`, film by film in turn.

    Nothing, and a line on stderr, where the extra is not installed.
    """
    labels = write_films(folder / half, folder / "material", half)
    alone, cascade = Detection(), Detection()
    alone_s = cascade_s = 0.0
    for name, truth in list(labels.items())[:NETWORK_FILMS]:
        try:
            slow, slow_s = judge(folder / half, {name: truth}, ALONE)
        except InputError as error:
            print(error, file=sys.stderr)
            return {}
        quick, quick_s = judge(folder / half, {name: truth}, CASCADE)
        alone, cascade = alone + both(slow), cascade + both(quick)
        alone_s, cascade_s = alone_s + slow_s, cascade_s + quick_s
    said = f"cascade {cascade.f1:.4f}, TransNetV2 alone {alone.f1:.4f}"
    times = f"{alone_s:.1f} s alone, {cascade_s:.1f} s cascade, both with decoding"
    gain, boundaries = cascade.f1 - alone.f1, alone.hits + alone.missed
    return {
        "shot_f1_cascade_minus_transnet": _figure(gain, 0.0, "higher", boundaries, said),
        "transnet_over_cascade": _figure(alone_s / cascade_s, 5.0, "higher", NETWORK_FILMS, times),
    }


def judge(folder: Path, labels: Labels, recipe: ShotRecipe) -> tuple[dict[str, Detection], float]:
    """Detections by kind over all films, and the seconds that finding took."""
    cv2.setNumThreads(1)
    totals = {"cut": Detection(), "gradual": Detection()}
    seconds = 0.0
    for name, truth in labels.items():
        started = time.perf_counter()
        _, found = find_shots(folder / name, recipe)
        seconds += time.perf_counter() - started
        scores = boundary_f1([boundary.to_dict() for boundary in found], truth)
        totals = {kind: totals[kind] + scores[kind] for kind in totals}
    return totals, seconds


def both(totals: Mapping[str, Detection]) -> Detection:
    """Cuts and graduals together."""
    return totals["cut"] + totals["gradual"]


def _figure(value: float, target: float, better: str, n: int, said: Detection | str) -> Any:
    if isinstance(said, Detection):
        said = (
            f"precision {said.precision:.3f}, recall {said.recall:.3f}, "
            f"{said.missed} missed, {said.false} false"
        )
    return {"value": value, "target": target, "better": better, "n": n, "note": said}


if __name__ == "__main__":
    print(json.dumps(figures(*map(Path, sys.argv[1:])), indent=1))
