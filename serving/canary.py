"""The canary: one picture that a version has to make before it is given a job."""

import numpy as np

from infra.errors import InputError
from modeling.generate import Generator
from modeling.tasks import Request

PROMPT = "a red circle moves left"


def check_canary(generator: Generator, version: str) -> None:
    """Make one picture; it also warms what is slow the first time.

    Raises:
        InputError: it is of one colour, as those of a model are that computes with NaN.
    """
    height, width = generator.native_size(4, 3)
    request = Request(prompt=PROMPT, num_frames=1, height=height, width=width, seed=0)
    if np.ptp(generator.generate(request)) == 0:
        raise InputError(
            f"version {version} makes a picture of one colour of {PROMPT!r}: its weights are not "
            "usable; train it again, or deploy another version"
        )
