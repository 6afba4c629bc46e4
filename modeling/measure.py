"""One row of the evaluation table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measure:
    """A number, from how many trials, and what a reader should know of it.

    `key`: it is logged to MLflow as a metric, which versions are compared by; the others are only
    in the table.
    """

    name: str
    value: float
    n: int
    note: str
    key: bool = True


def mean_of(name: str, values: Sequence[float], note: str, *, key: bool = True) -> Measure:
    """The mean of one value for each trial, with its 95 % interval from 1,000 resamplings."""
    array = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(0, len(array), (1000, len(array)))
    low, high = np.quantile(array[draws].mean(1), (0.025, 0.975))
    return Measure(
        name, float(array.mean()), len(array), f"{note}; 95 %: {low:.3g} to {high:.3g}", key
    )
