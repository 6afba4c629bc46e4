"""Which clips are for training and which for validation.

A whole film goes to one side. The one exception: of clips of several films that show the same, all
are for training when one is. Training has seen them anyway, so they tell it nothing new of the
films that are kept for validation, and validation is left with what training has not seen.
"""

from collections.abc import Iterable


def split_of(source_id: str) -> str:
    """A whole film is for training or for validation, by its content alone."""
    return "val" if int(source_id[:8], 16) % 16 == 0 else "train"


def split_of_group(source_ids: Iterable[str]) -> str:
    """The side of clips that show the same, given the films that they are from."""
    return "val" if all(split_of(source_id) == "val" for source_id in source_ids) else "train"
