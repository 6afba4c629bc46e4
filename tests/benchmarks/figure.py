"""One line of the benchmark's table."""

from typing import Literal, TypedDict


class Figure(TypedDict):
    """A measured value, what it should be, and on what (`n` of something) it was measured."""

    value: float
    target: float
    better: Literal["lower", "higher"]
    n: int
    note: str
