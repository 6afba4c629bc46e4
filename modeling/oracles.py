"""Oracles: functions that judge videos by their captions, named by a dotted path in the recipe.

    def judge(videos, captions):      # videos: uint8 arrays (T, H, W, 3)
        return {"accuracy": [1.0, 0.0, …], "colour": […]}

Each score is a list with one value in [0, 1], 1 the best, for each video that could be judged; it
becomes a row `oracle_NAME` with its n. The first one is the score that promotion looks at, so it is
called "accuracy". The same videos judged by each other's captions are the floor, real clips the
ceiling.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.errors import InputError
from modeling.measure import Measure, mean_of

Frames = npt.NDArray[np.uint8]
Oracle = Callable[[Sequence[Frames], Sequence[str]], Mapping[str, Sequence[float]]]
ACCURACY = "accuracy"


def load_function(path: str, what: str) -> Callable[..., Any]:
    """The function at "package.module:function".

    Raises:
        InputError: there is none; the message names the part that is missing.
    """
    module_name, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"no {what} at {path!r} ({error}); name one as package.module:function"
        ) from None
    if not callable(found):
        raise InputError(f"the {what} at {path!r} is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def scores(
    path: str, videos: Sequence[Frames], captions: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """What the oracle says: one array for each score, of a value for each video it could judge.

    Raises:
        InputError: there is no such oracle, or what it returns is no such thing.
    """
    oracle: Oracle = load_function(path, "oracle")
    try:
        said = {
            str(name): np.asarray(values, float)
            for name, values in oracle(videos, captions).items()
        }
    except Exception as error:  # whatever somebody else's code may raise
        raise InputError(f"oracle {path!r} failed on {len(videos)} videos: {error!r}") from error
    if ACCURACY not in said:
        raise InputError(f"oracle {path!r} has no score {ACCURACY!r}; it has: {', '.join(said)}")
    for name, values in said.items():
        if (
            values.ndim != 1
            or len(values) > len(videos)
            or not np.all((values >= 0) & (values <= 1))
        ):
            raise InputError(
                f"oracle {path!r}: score {name!r} has to be a list of at most {len(videos)} values "
                f"from 0 to 1, and is {values.tolist()}"[:400]
            )
    return said


def oracle_measures(
    path: str, videos: Sequence[Frames], real: Sequence[Frames], captions: Sequence[str]
) -> list[Measure]:
    """The oracle on generated videos, its ceiling and its floor, and what captions gain.

    real: the clips that the captions belong to.
    """
    said = scores(path, videos, captions)
    half = len(captions) // 2
    others = [*captions[half:], *captions[:half]]
    rows = [
        mean_of(f"oracle_{name}", values.tolist(), "generated from held-out captions")
        for name, values in said.items()
        if len(values)
    ]
    bounds = {
        "real": ("the ceiling: the real clips", scores(path, real, captions)),
        "shuffled": (
            "the floor: generated, by another video's caption",
            scores(path, videos, others),
        ),
    }
    for kind, (note, found) in bounds.items():
        if len(values := found[ACCURACY]):
            rows.append(mean_of(f"oracle_{ACCURACY}_{kind}", values.tolist(), note))
    by_name = {row.name: row for row in rows}
    mine, floor = (by_name.get(f"oracle_{name}") for name in (ACCURACY, f"{ACCURACY}_shuffled"))
    if mine and floor:
        note = "accuracy over the floor: what a prompt is worth"
        rows.append(Measure("oracle_gain", mine.value - floor.value, mine.n, note))
    return rows
